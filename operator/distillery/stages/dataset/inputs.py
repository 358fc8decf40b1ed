"""Rows in any order → the inputs table: distinct, split, without near-duplicates, with copies. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distillery.artifacts.tables import INPUTS, rows_digest
from distillery.errors import Problem, SpecError
from distillery.stages.dataset.deduplicate import drop_near
from distillery.stages.dataset.oversample import copies_of
from distillery.stages.dataset.pool import Pooled, Ranked
from distillery.stages.dataset.spec import DatasetParams
from distillery.stages.dataset.splits import SPLITS, SplitName, split_of

TableRow = dict[str, Any]
"""A row of artifacts.tables.INPUTS."""


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many rows each step took, independent of their order in the files."""

    read: int
    duplicates: int
    beyond_limit: int
    near_duplicates: dict[str, int]
    """By split."""
    conflicting_references: int
    """Inputs that came several times with different references; one of these was kept."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The finished table, sorted by row id."""

    rows: list[TableRow]
    funnel: Funnel

    @property
    def digest(self) -> str:
        """Digest of the rows."""
        return rows_digest(self.rows, INPUTS)

    def split(self, name: SplitName) -> list[TableRow]:
        """Return the rows of a split."""
        return [row for row in self.rows if row["split"] == name]


def build_inputs(
    pooled: Pooled, params: DatasetParams, tick: Callable[[int, int], None] | None = None
) -> Inputs:
    """Build the table. Raises: SpecError if a split stays empty."""
    placed = [
        (split_of(params.split, ranked.row.group or ranked.row.row_id), ranked) for ranked in pooled.rows
    ]
    kept = placed
    if params.deduplicate.near is not None:
        kept = drop_near(placed, params.deduplicate.near, tick)
    before, after = (Counter(split for split, _ in rows) for rows in (placed, kept))
    _check_splits(before, after, params, len({ranked.row.group or ranked.row.row_id for _, ranked in placed}))
    copies = _copies(kept, params)
    rows = [_table_row(split, ranked, copies.get(ranked.row.row_id, 1)) for split, ranked in kept]
    rows.sort(key=lambda row: row["row_id"])
    funnel = Funnel(
        read=pooled.read,
        duplicates=pooled.duplicates,
        beyond_limit=pooled.beyond_limit,
        near_duplicates={split: before[split] - after[split] for split in SPLITS},
        conflicting_references=pooled.conflicting,
    )
    return Inputs(rows, funnel)


def _copies(kept: list[tuple[SplitName, Ranked]], params: DatasetParams) -> dict[str, int]:
    if params.oversample is None:
        return {}
    training = {ranked.row.row_id: ranked.row.slices for split, ranked in kept if split == "train"}
    return copies_of(training, params.oversample, params.split.seed)


def _table_row(split: SplitName, ranked: Ranked, copies: int) -> TableRow:
    row = ranked.row
    return {
        "row_id": row.row_id,
        "split": split,
        "group": row.group,
        "messages": row.messages,
        "reference": row.reference,
        "slices": list(row.slices),
        "copies": copies,
    }


def _check_splits(
    before: Mapping[SplitName, int], after: Mapping[SplitName, int], params: DatasetParams, keys: int
) -> None:
    """Raise: SpecError for every split without rows, before or after near-duplicates have gone."""
    shares = {"validation": params.split.validation, "test": params.split.test}
    shares["train"] = 1 - sum(shares.values())
    unit = "groups" if params.group_by else "distinct rows"
    problems = []
    for split in SPLITS:
        if not before[split]:
            chance = f"share {shares[split]:.3g}, seed {params.split.seed}"
            message = f"none of the {keys:,} {unit} fell into the {split} split ({chance})"
            repair = f"add {unit}, or give {split} a larger share"
            problems.append(Problem("spec.dataset.split", message, repair))
        elif not after[split]:
            message = f"every row of the {split} split is a near-duplicate of a row of another one"
            problems.append(Problem("spec.dataset.deduplicate.near", message, "raise it, or add other rows"))
    if problems:
        raise SpecError(*problems)

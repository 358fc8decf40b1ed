"""The coverage table: what each slice has in each split, and where it is thin. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from distillery.api.v1alpha1.dataset import Slice
from distillery.stages.dataset.inputs import Inputs, TableRow
from distillery.stages.dataset.splits import SPLITS

COVERAGE_VERSION = 1
THIN_ROWS = 30
"""With fewer rows (or groups) the evaluation cannot decide about a slice, and training hardly sees it."""


def coverage_of(inputs: Inputs, slices: Sequence[Slice], labels: Sequence[str] | None) -> dict[str, Any]:
    """Return coverage.json: the funnel, every split, every slice by split.

    A slice is thin in `train` or `test` if it has under 30 rows there, or under 30 groups where rows have
    groups. Slices of the spec that no row is in are listed too.
    """
    members: dict[str, list[TableRow]] = {item.name: [] for item in slices if item.where is not None}
    for row in inputs.rows:
        for name in row["slices"]:
            members.setdefault(name, []).append(row)
    totals = Counter(row["split"] for row in inputs.rows)
    return {
        "version": COVERAGE_VERSION,
        "rows": len(inputs.rows),
        "funnel": _funnel(inputs),
        "splits": {split: _counts(inputs.split(split), len(inputs.rows), labels) for split in SPLITS},
        "slices": [
            _slice(name, rows, {split: totals[split] for split in SPLITS}, labels)
            for name, rows in sorted(members.items())
        ],
    }


def _funnel(inputs: Inputs) -> dict[str, Any]:
    funnel = asdict(inputs.funnel)
    return {
        "read": funnel["read"],
        "duplicates": funnel["duplicates"],
        "beyondLimit": funnel["beyond_limit"],
        "nearDuplicates": funnel["near_duplicates"],
        "conflictingReferences": funnel["conflicting_references"],
    }


def _slice(
    name: str, rows: Sequence[TableRow], totals: dict[str, int], labels: Sequence[str] | None
) -> dict[str, Any]:
    parts = {split: [row for row in rows if row["split"] == split] for split in SPLITS}
    thin = [split for split in ("train", "test") if _units(parts[split]) < THIN_ROWS]
    return {
        "name": name,
        "rows": len(rows),
        "thin": thin,
        "splits": {split: _counts(parts[split], totals[split], labels) for split in SPLITS},
    }


def _units(rows: Sequence[TableRow]) -> int:
    """Return the number of independent rows: groups, where rows have groups."""
    return len({row["group"] if row["group"] is not None else row["row_id"] for row in rows})


def _counts(rows: Sequence[TableRow], total: int, labels: Sequence[str] | None) -> dict[str, Any]:
    """Return counts of some rows; `share` is of `total`, `uses` counts a row as often as it is copied."""
    counts: dict[str, Any] = {
        "rows": len(rows),
        "share": round(len(rows) / total, 6) if total else 0.0,
        "uses": sum(row["copies"] for row in rows),
        "groups": _units(rows),
        "references": sum(row["reference"] is not None for row in rows),
    }
    if labels is not None:
        found = Counter(row["reference"] for row in rows)
        counts["labels"] = {label: found[label] for label in labels}
    return counts

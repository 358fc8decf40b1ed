"""The leak audit: looks for leaks between splits in the finished table, trusting no earlier step. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from distillery.stages.dataset.deduplicate import sets_of
from distillery.stages.dataset.inputs import TableRow
from distillery.stages.dataset.similarity import count_near
from distillery.stages.dataset.splits import PURITY

AUDIT_VERSION = 1
AUDIT_THRESHOLD = 0.8
"""Similarity looked for where the spec sets none: then it is only reported."""
AUDIT_ROWS = 200_000
"""With more rows, similarity is looked for only where the spec sets one: it takes minutes and memory."""


def audit_of(rows: Sequence[TableRow], near: float | None) -> dict[str, Any]:
    """Return audit.json.

    `near` is the threshold that de-duplication enforced, or None. `clean` says that nothing is left that
    should not be; near-duplicates count only where they were to be removed.
    """
    exact = _straddling((_words(row), row["split"]) for row in rows)
    groups = _straddling((row["group"], row["split"]) for row in rows if row["group"] is not None)
    repeated = sum(count > 1 for count in Counter(row["row_id"] for row in rows).values())
    copied = sum(row["copies"] != 1 for row in rows if row["split"] != "train")
    similar = _similar(rows, near)
    return {
        "version": AUDIT_VERSION,
        "rows": len(rows),
        "exactDuplicatesAcrossSplits": exact,
        "groupsAcrossSplits": groups,
        "repeatedIds": repeated,
        "copiesOutsideTraining": copied,
        "nearDuplicatesAcrossSplits": similar,
        "clean": not (exact or groups or repeated or copied or (near is not None and _total(similar))),
    }


def near_found(audit: Mapping[str, Any]) -> int:
    """Return how many rows of an audit are near a row of a purer split."""
    return _total(audit["nearDuplicatesAcrossSplits"])


def _similar(rows: Sequence[TableRow], near: float | None) -> dict[str, Any]:
    """Count the rows that are near a row of a purer split: `trainNearTest` and so on."""
    order = sorted(PURITY, key=lambda split: PURITY[split])
    found: dict[str, Any] = {"threshold": near or AUDIT_THRESHOLD, "enforced": near is not None}
    if near is None and len(rows) > AUDIT_ROWS:
        return {**found, "checked": False}
    splits = [[row for row in rows if row["split"] == split] for split in order]
    sets = sets_of([row["messages"] for part in splits for row in part])
    counted = count_near(sets, near or AUDIT_THRESHOLD, [len(part) for part in splits])
    pairs = {f"{order[b]}Near{order[a].capitalize()}": count for (a, b), count in counted.items()}
    return {**found, "checked": True, "rows": pairs}


def _total(similar: Mapping[str, Any]) -> int:
    return sum(similar.get("rows", {}).values())


def _words(row: TableRow) -> tuple[tuple[str, ...], ...]:
    """Return what exact duplicates share, made another way than in the pool."""
    return tuple((message["role"], *message["content"].split()) for message in row["messages"])


def _straddling(items: Iterable[tuple[Hashable, str]]) -> int:
    """Return how many keys occur in more than one split."""
    splits: defaultdict[Hashable, set[str]] = defaultdict(set)
    for key, split in items:
        splits[key].add(split)
    return sum(len(found) > 1 for found in splits.values())

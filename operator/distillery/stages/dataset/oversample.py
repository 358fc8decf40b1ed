"""Copies of training rows: slice values below the median count are lifted towards it. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from statistics import median

from distillery.api.v1alpha1.dataset import Oversample, Slice
from distillery.errors import Problem, SpecError
from distillery.stages.dataset.problems import did_you_mean, listing


def check_oversample(oversample: Oversample | None, slices: Sequence[Slice]) -> None:
    """Raise: SpecError if a name is no byColumn slice."""
    by_column = [item.name for item in slices if item.by_column]
    problems = []
    for index, name in enumerate(oversample.slices if oversample else []):
        if name not in by_column:
            what = "has no byColumn" if any(item.name == name for item in slices) else "is no slice"
            known = f"byColumn slices: {listing(by_column) or 'none'}"
            repair = f"{did_you_mean(name, by_column)}{known}"
            field = f"spec.dataset.oversample.slices[{index}]"
            problems.append(Problem(field, f"{name!r} {what}", repair))
    if problems:
        raise SpecError(*problems)


def copies_of(training: Mapping[str, Sequence[str]], oversample: Oversample, seed: int) -> dict[str, int]:
    """Return how often each training row is used.

    A value with fewer rows than the median of its column's values is lifted to the median, by at most
    maxFactor. The copies are whole: every row of the value gets the same number or one more, and hashes say
    which. A row in several slices gets the largest of its numbers.

    Args:
        training: row id → names of its slices, training rows only.
        oversample: the byColumn slices to lift, and the cap.
        seed: seed of the hash.
    """
    copies = dict.fromkeys(training, 1)
    for name in oversample.slices:
        members: dict[str, list[str]] = {}
        for row_id, slices in training.items():
            for value in slices:
                if value.startswith(f"{name}="):
                    members.setdefault(value, []).append(row_id)
        if not members:
            continue
        middle = math.floor(median(len(rows) for rows in members.values()))
        for value, rows in members.items():
            target = min(middle, math.floor(len(rows) * oversample.max_factor))
            if target <= len(rows):
                continue
            whole, rest = divmod(target, len(rows))
            rows.sort(key=lambda row_id, value=value: _hash(seed, value, row_id))  # type: ignore[misc]
            for index, row_id in enumerate(rows):
                copies[row_id] = max(copies[row_id], whole + (index < rest))
    return copies


def _hash(seed: int, value: str, row_id: str) -> bytes:
    return hashlib.sha256(f"{seed}\0copies\0{value}\0{row_id}".encode()).digest()

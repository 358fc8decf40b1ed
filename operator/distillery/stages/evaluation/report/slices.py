"""Slices in the report: the table, worst first, and what to do about the thin and the weak ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillery.scoring.gates import MIN_UNITS
from distillery.stages.evaluation.evidence import Evidence
from distillery.stages.evaluation.report.scales import Scale, scale_around

Slice = Mapping[str, Any]
ADVICE_MOST = 8


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One line of the table; positions are percent of the bar's width, None where there is nothing to draw."""

    facts: Slice
    label: str
    tone: str
    low: float | None
    high: float | None
    value: float | None


@dataclass(frozen=True, slots=True)
class SliceTable:
    """All slices on one scale."""

    rows: list[SliceRow]
    scale: Scale
    floor: float | None
    floor_at: float | None
    full_at: float
    """Where 100 % lies."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A slice that more rows would help: its value, test rows (or groups) and training rows."""

    name: str
    value: float | None
    units: int
    trained: int


@dataclass(frozen=True, slots=True)
class Advice:
    """Slices short of `target`, and slices with fewer than `least` test rows."""

    weak: list[Wanted]
    thin: list[Wanted]
    target: float | None
    least: int


def floor_of(evidence: Evidence) -> float | None:
    """Return the smallest retention that a slice may have, None without that gate."""
    gate = evidence.params.evaluation.gates.slices
    return None if gate is None else gate.min_retention


def slice_table(evidence: Evidence) -> SliceTable:
    """Return the table: failed slices first, then weak, then thin ones, then the rest by value."""
    floor = floor_of(evidence)
    items: Sequence[Slice] = evidence.metrics["slices"]
    scale = _scale(items, floor)
    ranked = sorted(
        items, key=lambda item: (_rank(item, floor), item["value"] is None, item["value"], item["name"])
    )
    return SliceTable(
        rows=[_row(item, floor, scale) for item in ranked],
        scale=scale,
        floor=floor,
        floor_at=None if floor is None else scale.at(floor),
        full_at=scale.at(1.0),
    )


def _scale(items: Sequence[Slice], floor: float | None) -> Scale:
    """Thin slices have intervals that would flatten everybody else's: they are cut off, not shown in full."""
    thick = [item for item in items if item["interval"] and item["units"] >= MIN_UNITS]
    ends = [end for item in thick or items if item["interval"] for end in item["interval"]]
    return scale_around([*ends, *(item["value"] for item in items), floor, 1.0], margin=0.05)


def _rank(item: Slice, floor: float | None) -> int:
    if item["state"] == "failed":
        return 0
    if is_weak(item, floor):
        return 1
    return 2 if item["state"] == "undecided" else 3


def is_weak(item: Slice, floor: float | None) -> bool:
    """Return whether a slice lies below the floor, though not beyond chance."""
    return (
        floor is not None
        and item["state"] == "passed"
        and item["value"] is not None
        and item["value"] < floor
    )


def _row(item: Slice, floor: float | None, scale: Scale) -> SliceRow:
    label, tone = _state(item, floor)
    ends, value = item["interval"], item["value"]
    return SliceRow(
        facts=item,
        label=label,
        tone=tone,
        low=None if ends is None else scale.at(ends[0]),
        high=None if ends is None else scale.at(ends[1]),
        value=None if value is None else scale.at(value),
    )


def _state(item: Slice, floor: float | None) -> tuple[str, str]:
    if item["state"] == "undecided":
        return ("Too few rows" if item["units"] < MIN_UNITS else "Not defined"), "undecided"
    if floor is None:
        return "Measured", "plain"
    if item["state"] == "failed":
        return "Below the floor", "failed"
    return ("Weak", "undecided") if is_weak(item, floor) else ("Holds", "passed")


def advice(evidence: Evidence) -> Advice | None:
    """Return the slices worth more rows, worst first, when the verdict or a slice is short of the mark."""
    floor = floor_of(evidence)
    table = slice_table(evidence)
    if evidence.verdict["verdict"] == "passed" and not any(
        row.tone in ("failed", "undecided") for row in table.rows
    ):
        return None
    target = floor if floor is not None else _demanded(evidence)
    trained = {item["name"]: item["splits"]["train"]["rows"] for item in evidence.coverage["slices"]}
    items = [
        Wanted(row.facts["name"], row.facts["value"], row.facts["units"], trained.get(row.facts["name"], 0))
        for row in table.rows
    ]
    thin = [item for item in items if item.units < MIN_UNITS]
    weak = [
        item
        for item in items
        if item not in thin and target is not None and item.value is not None and item.value < target
    ]
    if not thin and not weak:
        return None
    return Advice(weak[:ADVICE_MOST], thin[:ADVICE_MOST], target, MIN_UNITS)


def _demanded(evidence: Evidence) -> float | None:
    gate = evidence.params.evaluation.gates.retention
    return None if gate is None else gate.min

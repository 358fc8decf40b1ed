"""Gates: conditions that each pass, fail or stay undecided, and say why; together the verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Literal

from distillery.scoring.multiple import HolmBound
from distillery.scoring.retention import Estimate

State = Literal["passed", "failed", "undecided"]

MIN_UNITS = 30
"""Fewer groups or rows than this decide nothing."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate: `value` was compared with `threshold`.

    `blocks` says whether an undecided gate holds back the verdict.
    """

    name: str
    state: State
    value: float | None
    threshold: float
    message: str
    blocks: bool = True


@dataclass(frozen=True, slots=True)
class SliceResult:
    """One slice before the floor. `bound` is the Holm-adjusted upper bound, None if it was not tested."""

    name: str
    estimate: Estimate
    state: State
    bound: HolmBound | None


def verdict(gates: Sequence[GateResult]) -> State:
    """Return failed if any gate failed, else undecided if a blocking one is undecided, else passed."""
    if any(gate.state == "failed" for gate in gates):
        return "failed"
    if any(gate.state == "undecided" and gate.blocks for gate in gates):
        return "undecided"
    return "passed"


def retention_gate(estimate: Estimate, minimum: float, confidence: float, basis: str) -> GateResult:
    """Judge overall retention or agreement by its one-sided lower bound.

    Failed when the estimate itself lies below `minimum`, since more rows of the same kind would not lift it;
    undecided when only the lower bound does, since more rows may.

    Args:
        estimate: over all rows.
        minimum: smallest retention (`basis` reference) or agreement (`basis` teacher).
        confidence: of the estimate's bounds.
        basis: what the answers were compared with.
    """
    name = "retention" if basis == "reference" else "agreement"
    result = partial(GateResult, "retention", threshold=minimum)
    if estimate.value is None or estimate.lower is None or estimate.upper is None:
        why = "no test row could be scored"
        if basis == "reference":
            why = "no test row has both a reference and an answer of the teacher"
        if estimate.rows:
            why = "the teacher got no test row right: check the references and the prompt"
        return result("undecided", None, message=f"{name} is not defined, {why}")
    said = f"{name} {percent(estimate.value)}, with {percent(confidence, 0)} confidence at least "
    said += f"{percent(estimate.lower)}; {percent(minimum)} is demanded"
    more = missing_units(estimate, minimum)
    if estimate.units < MIN_UNITS:
        more = max(MIN_UNITS - estimate.units, more or 0)
        few = f"only {estimate.units} independent {_units(estimate)} were scored"
        return result("undecided", estimate.lower, message=f"{few}, about {more} more are needed ({said})")
    if estimate.lower >= minimum:
        return result("passed", estimate.lower, message=said)
    if estimate.value < minimum:
        how = "even the upper bound" if estimate.upper < minimum else "the estimate itself"
        return result("failed", estimate.lower, message=f"{said}; {how} is below")
    need = "the estimate sits on the mark, so no number of rows would decide"
    if more is not None:
        need = f"about {more} more test {_units(estimate)} would decide"
    return result("undecided", estimate.lower, message=f"{said}; {need}")


def missing_units(estimate: Estimate, minimum: float) -> int | None:
    """Return how many more units would lift the lower bound to `minimum` if the estimate stays; None if none.

    The distance between estimate and bound shrinks with the square root of the number of rows or groups.
    """
    if estimate.value is None or estimate.lower is None or estimate.value - minimum < 1e-4:
        return None
    needed = estimate.units * ((estimate.value - estimate.lower) / (estimate.value - minimum)) ** 2
    return max(0, ceil(needed) - estimate.units)


def slice_results(
    names: Sequence[str], estimates: Sequence[Estimate], bounds: Sequence[HolmBound | None]
) -> list[SliceResult]:
    """Judge every slice: failed if its bound lies below the floor, undecided if it has none."""
    results = []
    for name, estimate, bound in zip(names, estimates, bounds, strict=True):
        state: State = "undecided" if bound is None else "failed" if bound.below else "passed"
        results.append(SliceResult(name, estimate, state, bound))
    return results


def can_be_tested(estimate: Estimate) -> bool:
    """Return whether a slice has enough rows and groups to be tested."""
    return estimate.value is not None and estimate.units >= MIN_UNITS


def slices_gate(
    slices: Sequence[SliceResult], floor: float, undecided: Literal["warn", "block"]
) -> GateResult:
    """Judge all slices together: one that is below the floor beyond chance fails, thin ones warn or block."""
    failed = [item.name for item in slices if item.state == "failed"]
    thin = [item.name for item in slices if item.estimate.units < MIN_UNITS]
    lost = [item.name for item in slices if item.state == "undecided" and item.name not in thin]
    tested = {item.name: item.estimate.value or 0.0 for item in slices if item.bound is not None}
    weak = [name for name, value in tested.items() if value < floor and name not in failed]
    notes = [
        f"{_list(failed)} below {percent(floor)}" if failed else "",
        f"too few rows to judge {_list(thin)} (under {MIN_UNITS})" if thin else "",
        f"nothing to retain in {_list(lost)}: the teacher got no row right" if lost else "",
        f"{_list(weak)} below {percent(floor)}, though not beyond chance" if weak else "",
    ]
    said = "; ".join(note for note in notes if note)
    if not said:
        said = f"no slice below {percent(floor)}" if slices else "the dataset has no slices"
    state: State = "failed" if failed else "undecided" if thin or lost else "passed"
    value = min(tested.values(), default=None)
    return GateResult("slices", state, value, floor, said, blocks=undecided == "block")


def latency_gate(p95_ms: float | None, rows: int, maximum_ms: float) -> GateResult:
    """Judge the student's p95 for one row; too few timed rows decide nothing."""
    if p95_ms is None or rows < MIN_UNITS:
        text = f"{rows} rows were timed, {MIN_UNITS} are needed: raise evaluation.noiseRows or the test split"
        return GateResult("latency", "undecided", p95_ms, maximum_ms, text)
    state: State = "passed" if p95_ms <= maximum_ms else "failed"
    text = f"p95 of the student {p95_ms:.3g} ms; at most {maximum_ms:g} ms is allowed"
    return GateResult("latency", state, p95_ms, maximum_ms, text)


def teacher_failures_gate(failed: int, asked: int, maximum: float) -> GateResult:
    """Judge the share of test rows that the teacher left unanswered: they are missing from every figure."""
    if not asked:
        text = "there are no test rows: raise dataset.split.test or bring more rows"
        return GateResult("teacherFailures", "undecided", None, maximum, text)
    share = failed / asked
    state: State = "passed" if share <= maximum else "failed"
    text = f"{failed} of {asked} test rows stayed unanswered by the teacher; at most {percent(maximum)} may"
    return GateResult("teacherFailures", state, share, maximum, text)


def percent(share: float, digits: int = 1) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.{digits}f} %"


def _units(estimate: Estimate) -> str:
    return "rows" if estimate.units == estimate.rows else "groups"


def _list(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")

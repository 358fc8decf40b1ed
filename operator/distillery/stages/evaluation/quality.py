"""How good the student is beside its teacher: metrics.json, overall and per slice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from distillery.api.v1alpha1.evaluation import Gates
from distillery.scoring.gates import SliceResult, can_be_tested, slice_results
from distillery.scoring.multiple import HolmBound, holm_bounds
from distillery.scoring.retention import Estimate, PairedScores, Resampled, estimate
from distillery.stages.evaluation.rows import ScoredRow

Basis = Literal["reference", "teacher"]

DEFAULT_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Quality:
    """Estimates over the scored rows.

    `overall` is retention or, on basis teacher, agreement; `slices` are judged by it. `agreement` and
    `slice_agreement` compare with the teacher's answers, whatever the basis.
    """

    basis: Basis
    confidence: float
    overall: Estimate
    agreement: Estimate
    slices: tuple[SliceResult, ...]
    slice_agreement: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Judging:
    """How rows are compared: the basis, the confidence of every bound, the slices' floor, the seed of resampling."""

    basis: Basis
    confidence: float = DEFAULT_CONFIDENCE
    floor: float | None = None
    seed: int = 0


def choose_basis(gates: Gates, format: str, rows: Sequence[ScoredRow]) -> Basis:
    """Return the basis: as the gate wants it, else reference if test rows have one.

    Text is gated on references only: without any the gates stay undecided, for being like the teacher's text is
    no quality.
    """
    if gates.retention is not None and gates.retention.basis is not None:
        return gates.retention.basis
    if format == "text" and (gates.retention is not None or gates.slices is not None):
        return "reference"
    return "reference" if any(row.row.reference is not None for row in rows) else "teacher"


def slice_names(declared: Sequence[str], rows: Sequence[ScoredRow]) -> list[str]:
    """Return all slices, sorted: those in test rows, and declared ones that no test row is in."""
    return sorted({*declared, *(name for row in rows for name in row.row.slices)})


def measure(rows: Sequence[ScoredRow], names: Sequence[str], judging: Judging) -> Quality:
    """Estimate retention and agreement over all rows and every slice, and judge the slices."""
    agreement = _estimate(rows, names, "teacher", judging)
    main = agreement if judging.basis == "teacher" else _estimate(rows, names, "reference", judging)
    return Quality(
        basis=judging.basis,
        confidence=judging.confidence,
        overall=main.estimates[0],
        agreement=agreement.estimates[0],
        slices=tuple(slice_results(names, main.estimates[1:], _bounds(main, judging))),
        slice_agreement=agreement.estimates[1:],
    )


def _estimate(rows: Sequence[ScoredRow], names: Sequence[str], basis: Basis, judging: Judging) -> Resampled:
    if basis == "reference":
        scored = [row for row in rows if row.student_score is not None and row.teacher_score is not None]
        student = [row.student_score or 0.0 for row in scored]
        teacher = [row.teacher_score or 0.0 for row in scored]
    else:
        scored = [row for row in rows if row.agreement is not None]
        student, teacher = [row.agreement or 0.0 for row in scored], None
    scores = PairedScores.of(student, teacher, [row.row.group for row in scored])
    members = np.array([[name in row.row.slices for name in names] for row in scored], dtype=bool)
    parts = members.reshape(len(scored), len(names))
    return estimate(scores, parts, confidence=judging.confidence, seed=judging.seed)


def _bounds(measured: Resampled, judging: Judging) -> list[HolmBound | None]:
    """Return the Holm bound of every slice with enough rows; without a floor all bounds are plain."""
    estimates = measured.estimates[1:]
    tested = [i for i, item in enumerate(estimates) if can_be_tested(item)]
    draws = measured.draws[:, [i + 1 for i in tested]]
    # No retention lies below 0, so that no slice fails a floor that nobody set.
    bounds = holm_bounds(draws, judging.floor or 0.0, judging.confidence)
    found = dict(zip(tested, bounds, strict=True))
    return [found.get(i) for i in range(len(estimates))]


def describe(item: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON, with six decimals."""
    return {
        "rows": item.rows,
        "units": item.units,
        "student": rounded(item.student),
        "teacher": rounded(item.teacher),
        "value": rounded(item.value),
        "interval": None
        if item.interval is None
        else [rounded(item.interval.low), rounded(item.interval.high)],
        "lower": rounded(item.lower),
        "upper": rounded(item.upper),
    }


def describe_slices(quality: Quality) -> list[dict[str, Any]]:
    """Return the slices as JSON: the estimate by the basis, agreement, Holm bound and state."""
    return [
        {
            "name": item.name,
            **describe(item.estimate),
            "agreement": rounded(agreement.value),
            "upperHolm": None if item.bound is None else rounded(item.bound.upper),
            "state": item.state,
        }
        for item, agreement in zip(quality.slices, quality.slice_agreement, strict=True)
    ]


def rounded(value: float | None) -> float | None:
    """Return a figure with the six decimals that documents carry."""
    return None if value is None else round(value, 6)

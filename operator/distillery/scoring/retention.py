"""Retention and agreement of a student with intervals, over all rows and over parts of them. Pure.

Method: Bayesian bootstrap (Rubin 1981, Annals of Statistics 9) over groups of rows, beside half a
pseudo-row for each extreme outcome. On 0/1 scores this is the posterior under Jeffreys' prior (Brown, Cai,
DasGupta 2001), so 30 right answers of 30 leave doubt, where the plain bootstrap would claim certainty. Rows
that agree in everything are no special case, and no draw divides by zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillery.scoring.intervals import Interval

DRAWS = 10_000
PSEUDO_ROWS = 0.5
_CHUNK_VALUES = 2_500_000
_NOTHING = 1e-9
"""A sum of scores up to this is no denominator."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PairedScores:
    """Scores of the same rows, each in [0, 1].

    `student` and `teacher` have shape [rows]; `teacher` is None for agreement, where `student` holds the
    score of the student against the teacher's answer. `groups` [rows] numbers the rows' groups; rows of a
    group are drawn together.
    """

    student: Floats
    teacher: Floats | None
    groups: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        student: Sequence[float],
        teacher: Sequence[float] | None = None,
        groups: Sequence[str | None] | None = None,
    ) -> PairedScores:
        """Build from sequences; without `groups`, or where a group is None, every row is a group of its own.

        Raises:
            ValueError: sequences of different lengths, or scores outside [0, 1].
        """
        rows = len(student)
        if any(len(other) != rows for other in (teacher, groups) if other is not None):
            raise ValueError("student, teacher and groups must have the same length")
        names = [
            ("row", str(i)) if groups is None or groups[i] is None else ("group", str(groups[i]))
            for i in range(rows)
        ]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        scores = [np.asarray(values, dtype=np.float64) for values in (student, teacher) if values is not None]
        if any(((values < 0) | (values > 1)).any() for values in scores):
            raise ValueError("scores must lie in [0, 1]")
        return cls(
            student=scores[0],
            teacher=scores[1] if teacher is not None else None,
            groups=np.asarray([numbers[name] for name in names], dtype=np.int64),
        )

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.student)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Retention or agreement over one part of the rows.

    `value` is None where it is not defined (no rows, or the teacher scored nothing). `interval` is two-sided,
    `lower` and `upper` are one-sided bounds, all at the same confidence. `units` counts groups.
    """

    rows: int
    units: int
    student: float | None
    teacher: float | None
    value: float | None
    interval: Interval | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class Resampled:
    """Estimates of all parts, and the draws behind them.

    `draws` has shape [draws, parts], column j belonging to `estimates[j]`; columns of undefined estimates
    are NaN.
    """

    estimates: tuple[Estimate, ...]
    draws: Floats


def estimate(
    scores: PairedScores,
    parts: Flags | None = None,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Resampled:
    """Estimate Σ student / Σ teacher (or the mean of `student`) for all rows and for each part.

    Args:
        scores: paired row scores.
        parts: membership, shape [rows, parts]; the result begins with all rows, then has one entry per part.
        confidence: of the one-sided bounds and of the two-sided interval.
        draws: number of resamples; the same weights serve every part.
        seed: of the resampling; equal arguments give equal results.
    """
    everything = np.ones((scores.rows, 1), dtype=bool)
    members = everything if parts is None else np.concatenate([everything, parts], axis=1)
    base = np.ones(scores.rows) if scores.teacher is None else scores.teacher
    students, bases = _group_sums(scores, scores.student, members), _group_sums(scores, base, members)
    rows, units = members.sum(axis=0), _group_counts(scores, members)
    reach = _pseudo_size(bases - students, rows / np.maximum(units, 1))
    values = _resample(students, bases, reach, scores.teacher is not None, (draws, seed))
    student_sums, base_sums = students.sum(axis=0), bases.sum(axis=0)
    defined = base_sums > _NOTHING
    values[:, ~defined] = np.nan
    point = np.divide(student_sums, base_sums, out=np.full(len(rows), np.nan), where=defined)
    tail = 1 - confidence
    low, high, lower, upper = np.quantile(values, [tail / 2, 1 - tail / 2, tail, 1 - tail], axis=0)
    # Where everything is right or wrong the draws stop short of the value; an interval holds its value.
    low, lower = np.minimum(low, point), np.minimum(lower, point)
    high, upper = np.maximum(high, point), np.maximum(upper, point)
    estimates = []
    for j in range(members.shape[1]):
        estimates.append(
            Estimate(
                rows=int(rows[j]),
                units=int(units[j]),
                student=float(student_sums[j] / rows[j]) if rows[j] else None,
                teacher=float(base_sums[j] / rows[j]) if rows[j] and scores.teacher is not None else None,
                value=float(point[j]) if defined[j] else None,
                interval=Interval(float(low[j]), float(high[j])) if defined[j] else None,
                lower=float(lower[j]) if defined[j] else None,
                upper=float(upper[j]) if defined[j] else None,
            )
        )
    return Resampled(tuple(estimates), values)


def _group_sums(scores: PairedScores, values: Floats, members: Flags) -> Floats:
    """Return the sum of `values` per group and part, shape [groups, parts]."""
    sums = np.zeros((int(scores.groups.max(initial=-1)) + 1, members.shape[1]))
    np.add.at(sums, scores.groups, values[:, None] * members)
    return sums


def _group_counts(scores: PairedScores, members: Flags) -> NDArray[np.int64]:
    present: Flags = _group_sums(scores, np.ones(scores.rows), members) > 0
    counts: NDArray[np.int64] = np.count_nonzero(present, axis=0)
    return counts


def _pseudo_size(differences: Floats, unit_rows: Floats) -> Floats:
    """Return how many rows a pseudo-row stands for, shape [parts].

    With 0/1 scores and no groups it is one. Where graded scores or the rows of a group differ by less,
    one row at full stretch is averaged with what the k groups that differ show (k effective: (Σd²)² / Σd⁴).
    Full stretch alone would make intervals too wide, and leaving it out too narrow where few rows differ.
    """
    squares, fourths = (differences**2).sum(axis=0), (differences**4).sum(axis=0)
    effective = np.divide(squares**2, fourths, out=np.zeros_like(squares), where=fourths > 0)
    size: Floats = np.sqrt((unit_rows**2 + squares) / (1 + effective))
    return size


def _resample(
    students: Floats, bases: Floats, reach: Floats, paired: bool, draws_and_seed: tuple[int, int]
) -> Floats:
    """Return draws of the ratio, shape [draws, parts]; `reach` [parts] is the size of a pseudo-row."""
    draws, seed = draws_and_seed
    rng = np.random.default_rng(seed)
    groups, parts = students.shape
    columns = np.concatenate([students, bases], axis=1)
    chunk = max(1, _CHUNK_VALUES // max(groups, 1))
    ratios = []
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        # Single precision halves the time of drawing; its error is far below that of 10,000 draws.
        sums = rng.standard_exponential((size, groups), dtype=np.float32).astype(np.float64) @ columns
        both, student_only, base_only = rng.standard_gamma(PSEUDO_ROWS, (3, size, parts)) * reach
        # Agreement knows two extremes (agrees, does not), a pair of models four; one of them adds nothing.
        top = sums[:, :parts] + both + (student_only if paired else 0.0)
        bottom = sums[:, parts:] + both + base_only
        ratios.append(top / np.maximum(bottom, np.finfo(np.float64).tiny))
    return np.concatenate(ratios)

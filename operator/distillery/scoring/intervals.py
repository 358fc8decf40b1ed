"""Closed-form intervals for shares and for the difference of two shares measured on the same rows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from scipy.special import ndtri


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends, low ≤ high."""

    low: float
    high: float


def wilson(successes: float, rows: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's two-sided score interval of a share.

    Without rows nothing is known: [0, 1]. Source: Wilson (1927), JASA 22; recommended by Brown, Cai,
    DasGupta (2001).

    Args:
        successes: number of rows that count, 0 … rows.
        rows: number of rows.
        confidence: two-sided, 0 < confidence < 1.

    Raises:
        ValueError: successes outside 0 … rows.
    """
    if not 0 <= successes <= rows:
        raise ValueError(f"{successes} successes of {rows} rows")
    if rows == 0:
        return Interval(0.0, 1.0)
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / rows
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z * sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    # At the ends the formula is exact in real numbers and off by an ulp in floating point.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == rows else min(1.0, centre + half)
    return Interval(low, high)


def newcombe_paired(
    both: int, first_only: int, second_only: int, neither: int, confidence: float = 0.95
) -> Interval:
    """Return the interval of share(first) − share(second) for two yes/no answers on the same rows.

    Source: Newcombe (1998), Statistics in Medicine 17:2635, method 10 (square-and-add of Wilson limits with
    the correlation of the pairs, continuity-corrected when positive).

    Args:
        both: rows where first and second are right.
        first_only: rows where only the first is right.
        second_only: rows where only the second is right.
        neither: rows where both are wrong.
        confidence: two-sided.
    """
    rows = both + first_only + second_only + neither
    if rows == 0:
        return Interval(-1.0, 1.0)
    first, second = (both + first_only) / rows, (both + second_only) / rows
    a = wilson(both + first_only, rows, confidence)
    b = wilson(both + second_only, rows, confidence)
    phi = _pair_correlation(both, first_only, second_only, neither)
    down = _spread(first - a.low, b.high - second, phi)
    up = _spread(a.high - first, second - b.low, phi)
    return Interval(max(-1.0, first - second - down), min(1.0, first - second + up))


def _pair_correlation(both: int, first_only: int, second_only: int, neither: int) -> float:
    margins = (both + first_only) * (second_only + neither) * (both + second_only) * (first_only + neither)
    if margins == 0:
        return 0.0
    rows = both + first_only + second_only + neither
    covariance = float(both * neither - first_only * second_only)
    if covariance > 0:
        covariance = max(covariance - rows / 2, 0.0)
    return covariance / sqrt(margins)


def _spread(first: float, second: float, phi: float) -> float:
    return sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))

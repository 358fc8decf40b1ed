"""Holm's step-down test of many slices against one floor, said as upper bounds. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from distillery.scoring.retention import Floats


@dataclass(frozen=True, slots=True)
class HolmBound:
    """One slice: its upper bound at the level that Holm grants it, and whether that lies below the floor."""

    upper: float
    level: float
    below: bool


def holm_bounds(draws: Floats, floor: float, confidence: float) -> list[HolmBound]:
    """Bound every column from above so that all bounds hold together with `confidence`.

    Source: Holm (1979), Scandinavian Journal of Statistics 6; the bounds that go with it: Strassburger and
    Bretz (2008), Statistics in Medicine 27. The slices are tried from the worst on: of m slices the first
    has to lie below the floor at level (1 − confidence)/m, the next at (1 − confidence)/(m − 1), until one
    does not; the rest get its level.

    Args:
        draws: resampled retention, shape [draws, slices], no NaN.
        floor: smallest acceptable retention.
        confidence: joint, one-sided.
    """
    slices = draws.shape[1]
    alpha = 1 - confidence
    chance = (draws >= floor).mean(axis=0) if slices else np.zeros(0)
    result: dict[int, HolmBound] = {}
    rejecting = True
    level = alpha
    for rank, column in enumerate(np.argsort(chance, kind="stable")):
        if rejecting:
            level = alpha / (slices - rank)
        upper = float(np.quantile(draws[:, column], 1 - level))
        rejecting = rejecting and upper < floor
        result[int(column)] = HolmBound(upper=upper, level=level, below=rejecting)
    return [result[column] for column in range(slices)]

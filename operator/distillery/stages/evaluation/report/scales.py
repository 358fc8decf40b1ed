"""Geometry of the report's drawings: values to percent of the width, so that SVGs fit any screen. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps low … high to 0 … 100; values outside are cut off at the edge."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Return the position of a value in percent, with two decimals."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)


def scale_around(values: Iterable[float | None], margin: float = 0.08, least: float = 0.02) -> Scale:
    """Return a scale that holds all given values with a margin, at least `least` wide; None values are ignored."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = max(margin * (high - low), (least - (high - low)) / 2, 1e-9)
    return Scale(low - pad, high + pad)


def polyline(points: Sequence[tuple[float, float]], across: Scale, up: Scale) -> str:
    """Return the `points` of an SVG polyline in a box of 100 × 100, y growing upwards."""
    return " ".join(f"{across.at(x):g},{round(100 - up.at(y), 2):g}" for x, y in points)


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return at most about `most` points: means of runs of equal length, so that noise is smoothed, not sampled."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    runs = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def ticks(scale: Scale, most: int = 5) -> list[float]:
    """Return round values inside a scale, at most `most` + 1 of them."""
    span = scale.high - scale.low
    step = 10.0 ** math.floor(math.log10(span / most))
    while span / step > most:
        step *= 2 if round(step / 10 ** math.floor(math.log10(step))) in (1, 5) else 2.5
    first = math.ceil(scale.low / step)
    return [round(number * step, 10) for number in range(first, math.floor(scale.high / step) + 1)]

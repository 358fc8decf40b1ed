"""How far a student's confidence can be believed: calibration error, Brier score, log loss. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillery.scoring.retention import Floats

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of similar confidence: how sure the student was on average, and how often it was right."""

    rows: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Quality of the probabilities; all three figures are better when smaller."""

    rows: int
    expected_error: float
    """Mean gap between confidence and accuracy over bins of equal size (adaptive ECE)."""
    brier: float
    """Mean squared distance between probabilities and truth, summed over the labels: 0 … 2."""
    log_loss: float
    """Mean −log probability of the true label, in nats."""
    bins: tuple[ReliabilityBin, ...]


def calibration(log_probs: Floats, truths: NDArray[np.int64], bins: int = BINS) -> Calibration | None:
    """Judge probabilities over labels; None without rows.

    Bins hold equally many rows, since equal-width bins leave most of them empty and make the figure depend
    on their edges. Sources: Nguyen and O'Connor (2015) for adaptive bins, Brier (1950).

    Args:
        log_probs: natural logarithms of normalised probabilities, shape [rows, labels].
        truths: number of the true label, shape [rows].
        bins: at most so many bins, never with fewer than one row.
    """
    rows = len(truths)
    if rows == 0:
        return None
    probs = np.exp(log_probs)
    confidence = probs.max(axis=1)
    right = (log_probs.argmax(axis=1) == truths).astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    parts = [
        ReliabilityBin(len(part), float(confidence[part].mean()), float(right[part].mean()))
        for part in np.array_split(order, min(bins, rows))
    ]
    target = np.zeros_like(probs)
    target[np.arange(rows), truths] = 1.0
    floor = np.log(np.finfo(np.float64).tiny)
    return Calibration(
        rows=rows,
        expected_error=sum(part.rows * abs(part.confidence - part.accuracy) for part in parts) / rows,
        brier=float(((probs - target) ** 2).sum(axis=1).mean()),
        log_loss=float(-np.maximum(log_probs[np.arange(rows), truths], floor).mean()),
        bins=tuple(parts),
    )

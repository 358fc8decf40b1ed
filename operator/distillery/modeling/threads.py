"""How many threads a model is worth: the same number in training and evaluation, or their sums would differ."""

from __future__ import annotations

import os

FEW_CORES = 2
SMALL_MODEL = 20_000_000
"""Below this many weights a second thread waits more than it works."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(parameters: int, cores: int) -> int:
    """Return how many threads torch should use: one for a small model or few cores, where more only spin."""
    return 1 if cores <= FEW_CORES or parameters < SMALL_MODEL else cores

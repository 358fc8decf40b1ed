"""How many threads a model is worth: the same number in training and evaluation, or their sums would differ."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

from distillery.settings import Settings

FEW_CORES = 2
SMALL_MODEL = 20_000_000
"""Below this many weights a second thread waits more than it works."""


CGROUPS = Path("/sys/fs/cgroup")


def available_cores(cgroups: Path = CGROUPS) -> int:
    """Return how many cores this process may use: those of the machine, or of the container's limit or request."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit, requested = _cpu_limit(cgroups), Settings.read().cores
    if limit is not None:
        cores = min(cores, max(1, ceil(limit)))
    return cores if requested is None else min(cores, requested)


def _cpu_limit(cgroups: Path) -> float | None:
    """Return the cores that the kernel lets this container use (cgroup v2, else v1); None without a limit."""
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroups / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroups / "cpu/cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max"


def threads_for(parameters: int, cores: int) -> int:
    """Return how many threads torch should use: one for a small model or few cores, where more only spin."""
    return 1 if cores <= FEW_CORES or parameters < SMALL_MODEL else cores

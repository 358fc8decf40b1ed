"""The course of training as pure functions of the step: rows of a batch, learning rate, evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distillery.api.v1alpha1.student import Optimizer

WINDOW = 16
"""Batches among which rows are sorted by length: little padding, yet every batch stays a random sample."""


@dataclass(frozen=True, slots=True)
class Course:
    """How many optimizer steps there are, and after which the student is evaluated."""

    steps_per_epoch: int
    total_steps: int
    evaluations: frozenset[int]


def plan_course(rows: int, batch_size: int, epochs: float, evaluations_per_epoch: int) -> Course:
    """Return the course of `epochs` passes over `rows` rows, copies counted; the last step is evaluated."""
    per_epoch = math.ceil(rows / batch_size)
    total = max(1, math.ceil(epochs * per_epoch - 1e-9))
    looks = math.ceil(epochs * evaluations_per_epoch)
    steps = {round(look * per_epoch / evaluations_per_epoch) for look in range(1, looks + 1)}
    return Course(per_epoch, total, frozenset({step for step in steps if 1 <= step < total} | {total}))


def learning_rate(optimizer: Optimizer, index: int, total: int) -> float:
    """Return the rate of step `index` (from 0): linear warm-up to the peak, then the schedule towards 0."""
    warmup = round(optimizer.warmup_ratio * total)
    if index < warmup:
        return optimizer.learning_rate * (index + 1) / warmup
    course = (index - warmup) / max(1, total - warmup)
    match optimizer.schedule:
        case "cosine":
            return optimizer.learning_rate * 0.5 * (1 + math.cos(math.pi * course))
        case "linear":
            return optimizer.learning_rate * (1 - course)
        case "constant":
            return optimizer.learning_rate


def epoch_batches(
    lengths: Sequence[int], copies: Sequence[int], batch_size: int, seed: int, epoch: int
) -> list[list[int]]:
    """Return the row indices of every batch of one epoch; row i occurs `copies[i]` times.

    The order is a permutation drawn from (seed, epoch) alone, so any step can be found again without
    replaying the ones before it, whatever the number of workers.
    """
    random = np.random.default_rng([seed & 0xFFFFFFFF, epoch])
    order = random.permutation(np.repeat(np.arange(len(lengths)), copies)).tolist()
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * WINDOW):
        window = sorted(order[start : start + batch_size * WINDOW], key=lambda row: (lengths[row], row))
        cut = [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
        batches.extend(cut[position] for position in random.permutation(len(cut)).tolist())
    return batches

"""P21: 5,000 rows × 10 slices × 10,000 resamples, ours against a loop over resamples. Prints the ratio."""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from distillery.scoring.retention import PairedScores, estimate


def peer(scores: PairedScores, parts: np.ndarray, draws: int) -> float:
    """Resample each slice on its own, one draw at a time, as a loop around a metric does; return seconds."""
    assert scores.teacher is not None
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for column in range(parts.shape[1] + 1):
        rows = np.arange(scores.rows) if column == 0 else np.flatnonzero(parts[:, column - 1])
        ratios = np.empty(draws)
        for draw in range(draws):
            chosen = rng.choice(rows, size=len(rows))
            ratios[draw] = scores.student[chosen].sum() / scores.teacher[chosen].sum()
        np.quantile(ratios, [0.025, 0.975])
    return time.perf_counter() - start


def main() -> None:
    """Measure both and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--draws", type=int, default=10_000)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    teacher = (rng.random(options.rows) < 0.93).astype(float)
    student = np.where(rng.random(options.rows) < 0.97, teacher, 1 - teacher)
    scores = PairedScores(student, teacher, np.arange(options.rows))
    parts = rng.random((options.rows, options.slices)) < 0.2
    start = time.perf_counter()
    estimate(scores, parts, draws=options.draws)
    ours = time.perf_counter() - start
    loop = peer(scores, parts, max(1, options.draws // 20)) * 20
    figures = {"seconds": round(ours, 2), "peerSeconds": round(loop, 2), "ratio": round(loop / ours, 1)}
    print(json.dumps({**vars(options), **figures, "goalSeconds": 5}))


if __name__ == "__main__":
    main()

"""Row scores and the metrics that are made of them. Pure.

Answers arrive normalised (see rules); None stands for an answer that is missing or not valid and scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF

RowScore = Literal["equal", "chrF"]
Answer = str | None


def row_score(kind: RowScore, answer: Answer, truth: str) -> float:
    """Return the score of one answer in [0, 1]."""
    if answer is None:
        return 0.0
    return float(answer == truth) if kind == "equal" else chrf(answer, truth)


def chrf(answer: str, truth: str) -> float:
    """Return sentence chrF (character 6-grams, β = 2) in [0, 1]; Popović (2015), as sacrebleu computes it."""
    if answer == truth:
        return 1.0
    return min(1.0, max(0.0, float(_chrf().sentence_score(answer, [truth]).score) / 100))


@cache
def _chrf() -> CHRF:
    # Only text tasks pay for this import.
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


def accuracy(answers: Sequence[Answer], truths: Sequence[str]) -> float | None:
    """Return the share of equal answers, None without rows."""
    if not truths:
        return None
    return sum(a == t for a, t in zip(answers, truths, strict=True)) / len(truths)


def mean_chrf(answers: Sequence[Answer], truths: Sequence[str]) -> float | None:
    """Return the mean of sentence chrF, None without rows."""
    if not truths:
        return None
    return sum(row_score("chrF", a, t) for a, t in zip(answers, truths, strict=True)) / len(truths)


def confusion(
    answers: Sequence[Answer], truths: Sequence[Answer], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Return counts, shape [labels + 1, labels + 1]: rows are truths, columns answers.

    The last row and column are "no label".
    """
    number = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels) + 1, len(labels) + 1), dtype=np.int64)
    for answer, truth in zip(answers, truths, strict=True):
        row = number.get(truth, len(labels)) if truth is not None else len(labels)
        column = number.get(answer, len(labels)) if answer is not None else len(labels)
        table[row, column] += 1
    return table


def macro_f1(answers: Sequence[Answer], truths: Sequence[str]) -> float | None:
    """Return the unweighted mean of F1 over the labels that are true or answered somewhere.

    Same as scikit-learn's `f1_score(average="macro", zero_division=0)`; an answer that is None counts against
    recall. None without rows.
    """
    if not truths:
        return None
    labels = sorted({*truths, *(answer for answer in answers if answer is not None)})
    table = confusion(answers, truths, labels)[:-1]
    right = np.diagonal(table).astype(np.float64)
    total = table.sum(axis=1) + table[:, :-1].sum(axis=0)
    return float(np.mean(np.divide(2 * right, total, out=np.zeros(len(labels)), where=total > 0)))

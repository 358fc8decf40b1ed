"""How many questions a table means."""

from __future__ import annotations

from typing import Any

from distillery.stages.dataset.estimate import QuestionEstimate, Questions, estimate
from distillery.stages.dataset.inputs import Funnel, Inputs


def row(row_id: str, split: str, text: str, copies: int = 1) -> dict[str, Any]:
    return {
        "row_id": row_id,
        "split": split,
        "messages": [{"role": "user", "content": text}],
        "copies": copies,
    }


def test_every_use_of_the_teacher_is_counted_once_with_the_rendered_prompt() -> None:
    rows = [
        row("a", "train", "four", copies=5),
        row("b", "train", "ünf"),
        row("c", "validation", "x"),
        row("d", "test", "abc"),
        row("e", "test", "a"),
        row("f", "test", "ab"),
    ]
    inputs = Inputs(rows, Funnel(6, 0, 0, {}, 0))
    found = estimate(inputs, "system", extra_samples=2, noise_rows=2)
    assert found == QuestionEstimate(
        train=Questions(2, 4 + 4 + 12),
        validation=Questions(1, 7),
        test=Questions(3, 6 + 18),
        extra_samples=Questions(4, 40),
        noise=Questions(2, 16),
    )
    assert found.total == Questions(12, 20 + 7 + 24 + 40 + 16)


def test_noise_is_never_more_than_the_test_split() -> None:
    inputs = Inputs([row("a", "test", "abc")], Funnel(1, 0, 0, {}, 0))
    assert estimate(inputs, None, extra_samples=0, noise_rows=200).noise == Questions(1, 3)
    assert estimate(Inputs([], Funnel(0, 0, 0, {}, 0)), None, 0, 200).total == Questions()

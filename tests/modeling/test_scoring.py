from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.modeling import scoring
from distillery.modeling.scoring import LabelScorer
from modeling.small import tiny_model

END, PAD = 1, 0
MODEL = tiny_model(vocab_size=64)
LABELS = [[10], [11], [10, 12], [13, 14, 15], [13, 14, 16], [17, 18]]
PROMPTS = [[20, 21, 22], [23], [24, 25, 26, 27, 28, 29, 30], [31, 32], [33]]
prompts = st.lists(st.lists(st.integers(2, 63), min_size=1, max_size=9), min_size=1, max_size=6)
label_sets = st.lists(
    st.lists(st.integers(2, 9), min_size=1, max_size=3).map(tuple), min_size=1, max_size=8, unique=True
)


def brute_force(model: Any, prompt: list[int], label: list[int]) -> float:
    """log p(label and end | prompt) of one label by itself, in plain transformers."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *label]])).logits[0].double()
    steps = torch.log_softmax(logits[len(prompt) - 1 :], dim=-1)
    return float(sum(steps[at, token] for at, token in enumerate([*label, END])))


def score(
    rows: list[list[int]], labels: list[list[int]], batch_size: int = 32, packed: bool = True
) -> torch.Tensor:
    return LabelScorer(MODEL, labels, END, PAD, packed=packed).score(rows, batch_size)


@pytest.mark.parametrize("packed", [True, False])
def test_scores_equal_scoring_each_label_by_itself(packed: bool) -> None:
    expected = torch.tensor([[brute_force(MODEL, p, label) for label in LABELS] for p in PROMPTS]).double()
    torch.testing.assert_close(score(PROMPTS, LABELS, packed=packed), expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(prompts, label_sets)
def test_the_arg_max_and_the_scores_are_brute_forces(
    rows: list[list[int]], labels: list[tuple[int, ...]]
) -> None:
    as_lists = [list(label) for label in labels]
    scores = score(rows, as_lists)
    expected = torch.tensor([[brute_force(MODEL, row, label) for label in as_lists] for row in rows]).double()
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-4)
    assert bool((scores.exp().sum(dim=-1) <= 1 + 1e-5).all())  # labels exclude each other
    best = expected.gather(1, scores.argmax(dim=-1, keepdim=True))
    assert bool((expected.max(dim=-1, keepdim=True).values - best <= 1e-3).all())


@settings(max_examples=25, deadline=None)
@given(prompts, st.integers(1, 7))
def test_the_size_of_a_batch_changes_nothing(rows: list[list[int]], batch_size: int) -> None:
    torch.testing.assert_close(score(rows, LABELS, batch_size), score(rows, LABELS, 1), atol=1e-5, rtol=1e-5)


def test_all_labels_of_a_batch_take_one_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(model: Any, layout: Any) -> torch.Tensor:
        calls.append(layout)
        return forward(model, layout)

    forward = scoring.forward
    monkeypatch.setattr(scoring, "forward", counted)
    score(PROMPTS, [[10], [11], [12]])
    score(PROMPTS, LABELS)
    assert len(calls) == 2


def test_a_task_of_many_labels_is_scored_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = score(PROMPTS, LABELS)
    monkeypatch.setattr(scoring, "MAX_NODES", 4)
    scorer = LabelScorer(MODEL, LABELS, END, PAD, packed=True)
    assert len(scorer.groups) > 1
    torch.testing.assert_close(scorer.score(PROMPTS, 2), whole, atol=1e-5, rtol=1e-5)


def test_no_prompts_give_no_scores() -> None:
    assert score([], LABELS).shape == (0, len(LABELS))

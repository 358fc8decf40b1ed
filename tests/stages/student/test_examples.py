from __future__ import annotations

from typing import Any

import pytest

from distillery.api.v1alpha1.student import Loss
from distillery.api.v1alpha1.task import Output
from distillery.errors import StageFailed
from distillery.stages.student.examples import ExampleMaker, Examples, clean, require_rows, texts_of
from modeling.small import tiny_chat
from stages.student.conftest import LABELS, make_row, make_rows

LABEL = Output(format="label", labels=list(LABELS))


def maker(output: Output = LABEL, soft: float = 0.5, max_length: int | None = 200) -> ExampleMaker:
    return ExampleMaker(tiny_chat(), "Route.", output, Loss(hard=0.5, soft=soft), max_length)


def test_splits_are_told_apart_and_keep_their_order() -> None:
    made = [maker().make(make_rows(5, 3), split) for split in ("train", "validation")]
    assert [[example.row_id for example in split.kept] for split in made] == [
        [f"train-{number:04}" for number in range(5)],
        [f"validation-{number:04}" for number in range(3)],
    ]
    assert made[0].soft_coverage == 1.0


def test_the_prompt_is_the_rendered_row_with_the_system_prompt() -> None:
    [example] = maker().make([make_row(1, answer="login", copies=3)], "train").kept
    chat = tiny_chat()
    text = make_row(1)["messages"][0]["content"]
    assert (
        chat.tokenizer.decode(example.prompt) == f"<|system|>Route.<|end|><|user|>{text}<|end|><|assistant|>"
    )
    assert (example.label, example.copies, example.soft) == (1, 3, clean(make_row(1)["soft"]))


def test_rows_that_are_too_long_are_left_out_with_their_length() -> None:
    long = make_row(2, messages=[{"role": "user", "content": "order " * 300}])
    made = maker(max_length=60).make([make_row(1), long], "train")
    assert [example.row_id for example in made.kept] == ["train-0001"]
    [(row_id, tokens)] = made.too_long
    assert row_id == "train-0002"
    assert tokens > 60


def test_the_longest_label_has_to_fit_whatever_the_answer_is() -> None:
    rows = [make_row(1, answer=label) for label in LABELS]
    lengths = [len(example.prompt) for example in maker().make(rows, "train").kept]
    room = max(len(ids) for ids in tiny_chat().labels(LABELS))
    assert len(maker(max_length=lengths[0] + room).make(rows, "train").kept) == 3
    assert len(maker(max_length=lengths[0] + room - 1).make(rows, "train").kept) == 0


def test_rows_without_soft_labels_are_counted_and_learn_from_the_answer() -> None:
    made = maker().make([make_row(1), make_row(2, soft=None)], "train")
    assert made.soft_coverage == 0.5
    assert sum(made.kept[1].target.weights) == pytest.approx(made.kept[1].target.tokens)
    assert maker(soft=0.0).make([make_row(1)], "train").kept[0].soft == {}


def test_text_answers_have_no_label() -> None:
    row = make_row(1, answer="We will pay you back.", soft=None)
    [example] = maker(Output(format="text")).make([row], "train").kept
    ids = tiny_chat().answer(row["answer"])
    assert (example.label, example.target.tokens) == (None, len(ids) + 1)
    assert example.length == len(example.prompt) + len(ids)


def test_an_answer_that_is_no_label_means_a_corrupt_artifact() -> None:
    with pytest.raises(StageFailed, match="train-0001 has the answer 'Billing'"):
        maker().make([make_row(1, answer="Billing")], "train")


@pytest.mark.parametrize(
    ("soft", "want"),
    [
        (None, {}),
        ([0.5, 0.0, 0.5], {0: 0.5, 2: 0.5}),
        ([0.45, 0.45, 0.0], {0: 0.5, 1: 0.5}),
        ([1.0, 1e-7, 0.0], {0: 1.0}),
    ],
)
def test_soft_labels_are_made_to_sum_to_one(soft: list[float] | None, want: dict[int, float]) -> None:
    assert clean(soft) == pytest.approx(want)


def test_the_tokenizer_learns_from_training_rows_only() -> None:
    rows = [make_row(1, answer="login"), make_row(1, "validation")]
    assert texts_of(rows, "Route.") == ["Route.", rows[0]["messages"][0]["content"], "login"]


@pytest.mark.parametrize(
    ("rows", "max_length", "reason", "repair"),
    [
        ([], 200, "NoTrainingRows", "see its counts"),
        ([make_row(1)], 5, "RowsTooLong", "raise student.maxLength"),
        ([make_row(1, soft=None)], 200, "NoSoftLabels", "`loss: {hard: 1, soft: 0}`"),
    ],
)
def test_a_training_that_cannot_be_is_refused(
    rows: list[dict[str, Any]], max_length: int, reason: str, repair: str
) -> None:
    made: Examples = maker(max_length=max_length).make(rows, "train")
    with pytest.raises(StageFailed) as caught:
        require_rows(made, 0.5)
    assert caught.value.reason == reason
    assert repair in caught.value.message

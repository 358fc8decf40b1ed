"""The student as the evaluation uses it, with a model of a few lines."""

from collections.abc import Sequence

import numpy as np
import pytest

from distillery.api.v1alpha1.task import Output
from distillery.scoring.retention import Floats
from distillery.stages.evaluation.rows import StudentAnswer
from distillery.stages.evaluation.student_answers import (
    BATCH_ROWS,
    WARM_UP_ROWS,
    Conversation,
    StudentPredictor,
)
from evaluation_builders import make_row

LABEL = Output(format="label", labels=["login", "refund"])


class KeywordModel:
    """Knows `refund` by its name, cannot read more than 50 characters, and babbles when left free."""

    parameters = 7
    size_bytes = 28

    def __init__(self, free: str = "Refund.") -> None:
        self.free = free
        self.scored: list[int] = []
        self.generated: list[tuple[int, int]] = []

    def fits(self, conversation: Conversation, labels: Sequence[str] = ()) -> bool:
        return len(conversation[-1]["content"]) <= 50

    def label_log_probs(
        self, conversations: Sequence[Conversation], labels: Sequence[str], batch_size: int = 32
    ) -> Floats:
        self.scored.append(len(conversations))
        sure = [0.8 if "refund" in conversation[-1]["content"] else 0.3 for conversation in conversations]
        return np.log(np.array([[1 - p, p] for p in sure]))

    def generate(
        self, conversations: Sequence[Conversation], max_new_tokens: int, batch_size: int = 32
    ) -> list[str]:
        self.generated.append((len(conversations), max_new_tokens))
        return [self.free] * len(conversations)


def test_labels_are_the_most_probable_and_free_generation_is_judged_beside_them() -> None:
    model = KeywordModel()
    rows = [make_row(0, "my refund"), make_row(1, "x" * 51), make_row(2, "my login")]
    done: list[int] = []
    answers, log_probs = StudentPredictor(model, LABEL, 512).answer(rows, done.append)
    assert answers == [
        StudentAnswer("refund", "refund", pytest.approx(0.8), valid=True),
        StudentAnswer(None, None, None, valid=False, too_long=True),
        StudentAnswer("login", "login", pytest.approx(0.7), valid=True),
    ]
    assert log_probs is not None
    assert np.isnan(log_probs[1]).all()
    assert np.exp(log_probs[[0, 2]]) == pytest.approx(np.array([[0.2, 0.8], [0.7, 0.3]]))
    assert model.generated == [(2, 7)]
    assert done == [1, 3]


def test_a_student_that_babbles_still_answers_but_is_not_valid() -> None:
    answers, _ = StudentPredictor(KeywordModel("well, hmm"), LABEL, 512).answer(
        [make_row(0, "refund")], lambda _: None
    )
    assert answers == [StudentAnswer("refund", "refund", pytest.approx(0.8), valid=False)]


def test_json_is_generated_and_brought_to_its_normal_form() -> None:
    output = Output(format="json")
    model = KeywordModel('{"b": 1.0, "a": 2}')
    answers, log_probs = StudentPredictor(model, output, 99).answer([make_row(0)], lambda _: None)
    assert answers == [StudentAnswer('{"b": 1.0, "a": 2}', '{"a":2,"b":1}', None, valid=True)]
    assert log_probs is None
    assert model.generated == [(1, 99)]
    broken, _ = StudentPredictor(KeywordModel("{"), output, 99).answer([make_row(0)], lambda _: None)
    assert broken == [StudentAnswer("{", None, None, valid=False)]


def test_rows_go_in_batches_and_a_stop_between_them_ends_the_work() -> None:
    rows = [make_row(number) for number in range(2 * BATCH_ROWS + 1)]
    model = KeywordModel()
    StudentPredictor(model, LABEL, 9).answer(rows, lambda _: None)
    assert model.scored == [BATCH_ROWS, BATCH_ROWS, 1]

    def stop(done: int) -> None:
        if done:
            raise InterruptedError

    stopped = KeywordModel()
    with pytest.raises(InterruptedError):
        StudentPredictor(stopped, LABEL, 9).answer(rows, stop)
    assert stopped.scored == [BATCH_ROWS]


def test_each_readable_row_is_timed_alone_after_a_warm_up() -> None:
    model = KeywordModel()
    clock = iter(range(1000))
    rows = [make_row(0), make_row(1, "x" * 51), *[make_row(number) for number in range(2, 8)]]
    seconds = StudentPredictor(model, LABEL, 9).time(rows, lambda: float(next(clock)), lambda _: None)
    assert seconds == [1.0] * 7
    assert model.scored == [1] * (7 + WARM_UP_ROWS)
    text = KeywordModel()
    assert StudentPredictor(text, Output(format="text"), 9).time(rows[:1], lambda: 0.0, lambda _: None) == [
        0.0
    ]
    assert text.generated == [(1, 9), (1, 9)]


def test_no_rows_are_no_work() -> None:
    model = KeywordModel()
    answers, log_probs = StudentPredictor(model, LABEL, 9).answer([], lambda _: None)
    assert answers == []
    assert log_probs is not None
    assert log_probs.shape == (0, 2)
    assert model.scored == []

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF
from sklearn.metrics import f1_score

from distillery.scoring.metrics import accuracy, chrf, confusion, macro_f1, mean_chrf, row_score

LABELS = ["billing", "login", "refund"]
ANSWERS = st.sampled_from([*LABELS, None])


@pytest.mark.parametrize(
    ("answer", "truth", "want"), [("login", "login", 1.0), ("login", "refund", 0.0), (None, "login", 0.0)]
)
def test_equal_answers_score_one(answer: str | None, truth: str, want: float) -> None:
    assert row_score("equal", answer, truth) == want


@given(st.text(max_size=40), st.text(max_size=40))
def test_chrf_lies_between_0_and_1_and_is_sacrebleus(answer: str, truth: str) -> None:
    got = chrf(answer, truth)
    assert 0 <= got <= 1
    if answer != truth:
        assert got == pytest.approx(CHRF().sentence_score(answer, [truth]).score / 100)


def test_the_same_text_scores_one_even_if_it_has_no_character_to_count() -> None:
    assert [row_score("chrF", text, text) for text in ("the cat sat", "a", " ")] == [1.0, 1.0, 1.0]


def test_a_missing_text_scores_zero() -> None:
    assert mean_chrf(["the cat", None], ["the cat", "the dog"]) == 0.5


def test_metrics_without_rows_are_not_defined() -> None:
    assert (accuracy([], []), macro_f1([], []), mean_chrf([], [])) == (None, None, None)


def test_confusion_counts_truths_in_rows_and_keeps_what_is_no_label_last() -> None:
    got = confusion(["login", "login", None, "huh"], ["login", "refund", "login", None], LABELS)
    want = np.zeros((4, 4), dtype=int)
    want[1, 1] = want[2, 1] = want[1, 3] = want[3, 3] = 1
    assert np.array_equal(got, want)


@given(st.lists(st.tuples(ANSWERS, st.sampled_from(LABELS)), min_size=1, max_size=60))
def test_macro_f1_is_scikit_learns(rows: list[tuple[str | None, str]]) -> None:
    answers, truths = [row[0] for row in rows], [row[1] for row in rows]
    labels = sorted({*truths, *(answer for answer in answers if answer is not None)})
    known = [answer or "none" for answer in answers]
    want = f1_score(truths, known, labels=labels, average="macro", zero_division=0)
    assert macro_f1(answers, truths) == pytest.approx(want)
    assert accuracy(answers, truths) == pytest.approx(np.mean([a == t for a, t in rows]))

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1.teacher import Samples
from distillery.stages.teacher.questions import (
    asked_rows,
    evaluation_questions,
    pilot_rows,
    questions_of,
)


def make_row(number, split="train", slices=()):
    messages = [{"role": "user", "content": f"row {number}"}]
    return {"row_id": f"r{number:04}", "split": split, "messages": messages, "slices": list(slices)}


def test_rows_come_by_id_and_without_the_test_split():
    rows = [make_row(3), make_row(1, "test"), make_row(2, "validation"), make_row(0)]
    assert [row["row_id"] for row in asked_rows(rows)] == ["r0000", "r0002", "r0003"]


def test_a_training_row_gets_its_extra_samples_after_its_production_question():
    rows = [make_row(0), make_row(1, "validation")]
    questions = questions_of(rows, "Be brief.", Samples(extra=2, temperature=0.9))
    assert [(one.row_id, one.sample_index, one.temperature) for one in questions] == [
        ("r0000", 0, None),
        ("r0000", 1, 0.9),
        ("r0000", 2, 0.9),
        ("r0001", 0, None),
    ]
    assert questions[0].messages[0] == {"role": "system", "content": "Be brief."}


def test_the_evaluation_asks_test_rows_once_and_some_twice():
    rows = [make_row(number, "test") for number in range(5)] + [make_row(9)]
    questions = evaluation_questions(rows, None, noise_rows=2)
    assert Counter(one.sample_index for one in questions) == {0: 5, 1: 2}
    assert all(one.row_id < "r0005" for one in questions)


slices = st.lists(st.sampled_from(["a", "b", "c"]), max_size=2, unique=True)


@given(st.lists(slices, min_size=1, max_size=80), st.integers(1, 40), st.randoms())
def test_the_pilot_keeps_the_shares_of_slices_whatever_the_order(all_slices, count, random):
    rows = [make_row(number, slices=some) for number, some in enumerate(all_slices)]
    chosen = pilot_rows(rows, count)
    assert len(chosen) == len({row["row_id"] for row in chosen}) == min(count, len(rows))
    strata = Counter(tuple(sorted(row["slices"])) for row in rows)
    found = Counter(tuple(sorted(row["slices"])) for row in chosen)
    for stratum, size in strata.items():
        assert abs(found[stratum] - len(chosen) * size / len(rows)) <= 1
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert pilot_rows(shuffled, count) == chosen


def test_the_pilot_takes_training_rows_only():
    assert [row["row_id"] for row in pilot_rows([make_row(0, "validation"), make_row(1)], 5)] == ["r0001"]

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1.student import Optimizer
from distillery.stages.student.schedule import Course, epoch_batches, learning_rate, plan_course


@pytest.mark.parametrize(
    ("arguments", "course"),
    [
        ((100, 10, 2, 2), Course(10, 20, frozenset({5, 10, 15, 20}))),
        ((101, 10, 1, 1), Course(11, 11, frozenset({11}))),
        ((100, 10, 0.5, 4), Course(10, 5, frozenset({2, 5}))),
        ((5, 10, 3, 4), Course(1, 3, frozenset({1, 2, 3}))),
        ((10, 10, 0.01, 1), Course(1, 1, frozenset({1}))),
    ],
)
def test_a_course_counts_steps_and_evaluations(
    arguments: tuple[int, int, float, int], course: Course
) -> None:
    assert plan_course(*arguments) == course


@given(st.integers(1, 500), st.integers(1, 64), st.floats(0.01, 10), st.integers(1, 8))
def test_the_last_step_is_always_evaluated(rows: int, batch_size: int, epochs: float, looks: int) -> None:
    course = plan_course(rows, batch_size, epochs, looks)
    assert course.total_steps in course.evaluations
    assert all(1 <= step <= course.total_steps for step in course.evaluations)


def test_the_rate_rises_to_its_peak_and_falls_as_scheduled() -> None:
    def rates(schedule: str, warmup: float = 0.2) -> list[float]:
        optimizer = Optimizer.model_validate(
            {"learningRate": 1.0, "schedule": schedule, "warmupRatio": warmup}
        )
        return [round(learning_rate(optimizer, step, 10), 3) for step in range(10)]

    assert rates("cosine") == [0.5, 1.0, 1.0, 0.962, 0.854, 0.691, 0.5, 0.309, 0.146, 0.038]
    assert rates("linear") == [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates("constant") == [0.5] + [1.0] * 9
    assert rates("linear", warmup=0.0)[0] == 1.0


@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(1, 4)), min_size=1, max_size=120),
    st.integers(1, 16),
    st.integers(-5, 5),
    st.integers(0, 3),
)
def test_an_epoch_holds_every_copy_of_every_row_once(
    rows: list[tuple[int, int]], batch_size: int, seed: int, epoch: int
) -> None:
    lengths, copies = [row[0] for row in rows], [row[1] for row in rows]
    batches = epoch_batches(lengths, copies, batch_size, seed, epoch)
    assert Counter(row for batch in batches for row in batch) == Counter(dict(enumerate(copies)))
    assert len(batches) == plan_course(sum(copies), batch_size, 1, 1).steps_per_epoch
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert batches == epoch_batches(lengths, copies, batch_size, seed, epoch)


def test_epochs_and_seeds_differ_and_batches_are_of_like_length() -> None:
    lengths = [(7 * row) % 101 for row in range(512)]
    ones = [1] * 512
    first = epoch_batches(lengths, ones, 16, seed=1, epoch=0)
    assert first != epoch_batches(lengths, ones, 16, seed=1, epoch=1)
    assert first != epoch_batches(lengths, ones, 16, seed=2, epoch=0)
    padding = sum(max(lengths[row] for row in batch) * len(batch) for batch in first) / sum(lengths)
    assert padding < 1.15

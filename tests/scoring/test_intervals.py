import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from distillery.scoring.intervals import Interval, newcombe_paired, wilson

COUNTS = st.integers(0, 200)


@given(st.integers(1, 500), st.data())
def test_wilson_is_scipys_wilson(rows: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, rows))
    confidence = data.draw(st.sampled_from([0.8, 0.9, 0.95, 0.99]))
    want = binomtest(successes, rows).proportion_ci(confidence, method="wilson")
    got = wilson(successes, rows, confidence)
    assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=1e-12)
    assert 0 <= got.low <= successes / rows <= got.high <= 1


def test_wilson_without_rows_knows_nothing() -> None:
    assert wilson(0, 0) == Interval(0.0, 1.0)


def test_wilson_refuses_more_successes_than_rows() -> None:
    with pytest.raises(ValueError, match="5 successes of 4 rows"):
        wilson(5, 4)


def test_newcombe_gives_the_interval_published_for_method_10() -> None:
    got = newcombe_paired(36, 12, 2, 0)
    assert (got.low, got.high) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_newcombe_holds_the_difference_and_mirrors_when_the_models_swap(
    a: int, b: int, c: int, d: int
) -> None:
    got, mirrored = newcombe_paired(a, b, c, d), newcombe_paired(a, c, b, d)
    rows = a + b + c + d
    difference = (b - c) / rows if rows else 0.0
    assert -1 <= got.low <= difference <= got.high <= 1
    assert (got.low, got.high) == pytest.approx((-mirrored.high, -mirrored.low), abs=1e-12)


def test_newcombe_leaves_doubt_where_all_rows_are_right() -> None:
    got = newcombe_paired(50, 0, 0, 0)
    assert got.low < -0.05
    assert got.high > 0.05

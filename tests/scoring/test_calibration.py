import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from distillery.scoring.calibration import Calibration, ReliabilityBin, calibration


def sure(*confidences: float) -> np.ndarray:
    """Log-probabilities of two labels; the first has the given probability."""
    return np.log(np.array([[value, 1 - value] for value in confidences]))


def test_without_rows_there_is_nothing_to_calibrate() -> None:
    assert calibration(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)) is None


def test_the_figures_of_a_small_case_are_those_by_hand() -> None:
    got = calibration(sure(0.6, 0.6, 0.8, 0.8), np.array([0, 1, 0, 0]), bins=2)
    assert got == Calibration(
        rows=4,
        expected_error=pytest.approx((2 * 0.1 + 2 * 0.2) / 4),
        brier=pytest.approx((2 * 0.4**2 + 2 * 0.6**2 + 2 * 2 * 0.2**2) / 4),
        log_loss=pytest.approx(-(np.log(0.6) + np.log(0.4) + 2 * np.log(0.8)) / 4),
        bins=(
            ReliabilityBin(2, pytest.approx(0.6), pytest.approx(0.5)),
            ReliabilityBin(2, pytest.approx(0.8), pytest.approx(1.0)),
        ),
    )


def test_a_sure_error_costs_much_but_stays_finite() -> None:
    with np.errstate(divide="ignore"):
        got = calibration(sure(1.0), np.array([1]))
    assert got is not None
    assert (got.expected_error, got.brier) == (1.0, 2.0)
    assert 700 < got.log_loss < 750


def test_a_calibrated_student_has_a_small_error_and_an_overconfident_one_a_large() -> None:
    rng = np.random.default_rng(1)
    log_probs = log_softmax(rng.normal(size=(5000, 4)), axis=1)
    truths = np.array([rng.choice(4, p=np.exp(row) / np.exp(row).sum()) for row in log_probs])
    honest, sharpened = (
        calibration(log_probs, truths),
        calibration(log_softmax(4 * log_probs, axis=1), truths),
    )
    assert honest is not None
    assert sharpened is not None
    assert honest.expected_error < 0.03
    assert sharpened.expected_error > 0.2
    assert sharpened.log_loss > honest.log_loss


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_bins_hold_all_rows_and_the_log_loss_is_scikit_learns(rows: int, labels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(size=(rows, labels)), axis=1)
    truths = rng.integers(0, labels, size=rows)
    got = calibration(log_probs, truths)
    assert got is not None
    assert sum(part.rows for part in got.bins) == rows
    assert max(part.rows for part in got.bins) - min(part.rows for part in got.bins) <= 1
    assert got.log_loss == pytest.approx(log_loss(truths, np.exp(log_probs), labels=list(range(labels))))
    assert 0 <= got.expected_error <= 1
    assert 0 <= got.brier <= 2

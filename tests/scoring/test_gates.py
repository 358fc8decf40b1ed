from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.scoring.gates import (
    GateResult,
    SliceResult,
    State,
    can_be_tested,
    latency_gate,
    missing_units,
    retention_gate,
    slice_results,
    slices_gate,
    teacher_failures_gate,
    verdict,
)
from distillery.scoring.intervals import Interval
from distillery.scoring.multiple import holm_bounds
from distillery.scoring.retention import Estimate, PairedScores, estimate


def make_estimate(value: float | None, lower: float | None = None, rows: int = 400) -> Estimate:
    if value is None:
        return Estimate(rows, rows, None, None, None, None, None, None)
    low = value if lower is None else lower
    high = 2 * value - low
    return Estimate(rows, rows, 0.9, 0.9, value, Interval(low, high), low, high)


def gate(name: str, state: State, *, blocks: bool = True) -> GateResult:
    return GateResult(name, state, 0.0, 0.0, "", blocks)


@pytest.mark.parametrize(
    ("case", "item", "state", "message"),
    [
        (
            "the lower bound reaches the mark",
            make_estimate(0.98, 0.96),
            "passed",
            "retention 98.0 %, with 95 % confidence at least 96.0 %; 95.0 % is demanded",
        ),
        (
            "the lower bound is the mark",
            make_estimate(0.98, 0.95),
            "passed",
            "retention 98.0 %, with 95 % confidence at least 95.0 %; 95.0 % is demanded",
        ),
        (
            "only the estimate reaches it",
            make_estimate(0.97, 0.94),
            "undecided",
            "retention 97.0 %, with 95 % confidence at least 94.0 %; 95.0 % is demanded; "
            "about 500 more test rows would decide",
        ),
        (
            "the estimate sits on it",
            make_estimate(0.95, 0.93),
            "undecided",
            "retention 95.0 %, with 95 % confidence at least 93.0 %; 95.0 % is demanded; "
            "the estimate sits on the mark, so no number of rows would decide",
        ),
        (
            "the estimate lies below",
            make_estimate(0.94, 0.92),
            "failed",
            "retention 94.0 %, with 95 % confidence at least 92.0 %; 95.0 % is demanded; "
            "the estimate itself is below",
        ),
        (
            "everything lies below",
            make_estimate(0.90, 0.88),
            "failed",
            "retention 90.0 %, with 95 % confidence at least 88.0 %; 95.0 % is demanded; "
            "even the upper bound is below",
        ),
        (
            "few rows decide nothing, however good",
            make_estimate(1.0, 0.96, rows=29),
            "undecided",
            "only 29 independent rows were scored, about 1 more are needed "
            "(retention 100.0 %, with 95 % confidence at least 96.0 %; 95.0 % is demanded)",
        ),
        (
            "few groups decide nothing, however many rows",
            replace(make_estimate(1.0, 0.96), units=20),
            "undecided",
            "only 20 independent groups were scored, about 10 more are needed "
            "(retention 100.0 %, with 95 % confidence at least 96.0 %; 95.0 % is demanded)",
        ),
        (
            "no rows",
            make_estimate(None, rows=0),
            "undecided",
            "retention is not defined, no test row has both a reference and an answer of the teacher",
        ),
        (
            "a teacher without a right answer",
            make_estimate(None),
            "undecided",
            "retention is not defined, "
            "the teacher got no test row right: check the references and the prompt",
        ),
    ],
)
def test_retention_is_judged_by_its_lower_bound(
    case: str, item: Estimate, state: State, message: str
) -> None:
    got = retention_gate(item, 0.95, 0.95, "reference")
    assert got == GateResult("retention", state, item.lower, 0.95, message), case


def test_basis_teacher_speaks_of_agreement() -> None:
    assert retention_gate(make_estimate(0.98, 0.96), 0.9, 0.9, "teacher").message == (
        "agreement 98.0 %, with 90 % confidence at least 96.0 %; 90.0 % is demanded"
    )


def test_the_missing_rows_would_indeed_decide() -> None:
    def measured(rows: int) -> Estimate:
        teacher = [1.0] * rows
        student = [0.0 if i % 50 == 0 else 1.0 for i in range(rows)]
        return estimate(PairedScores.of(student, teacher)).estimates[0]

    few = measured(200)
    missing = missing_units(few, 0.97)
    assert retention_gate(few, 0.97, 0.95, "reference").state == "undecided"
    assert missing is not None
    assert retention_gate(measured(200 + missing // 3), 0.97, 0.95, "reference").state == "undecided"
    assert retention_gate(measured(200 + missing), 0.97, 0.95, "reference").state == "passed"


@pytest.mark.parametrize(
    ("gates", "want"),
    [
        ([], "passed"),
        ([gate("a", "passed"), gate("b", "passed")], "passed"),
        ([gate("a", "undecided"), gate("b", "failed")], "failed"),
        ([gate("a", "failed", blocks=False)], "failed"),
        ([gate("a", "passed"), gate("b", "undecided")], "undecided"),
        ([gate("a", "passed"), gate("b", "undecided", blocks=False)], "passed"),
    ],
)
def test_the_verdict_is_the_worst_gate_and_a_warning_is_no_gate(gates: list[GateResult], want: State) -> None:
    assert verdict(gates) == want


@pytest.mark.parametrize(
    ("p95", "rows", "state"),
    [
        (250.0, 200, "passed"),
        (300.0, 30, "passed"),
        (300.1, 30, "failed"),
        (1.0, 29, "undecided"),
        (None, 0, "undecided"),
    ],
)
def test_latency_is_judged_by_p95_of_enough_rows(p95: float | None, rows: int, state: State) -> None:
    got = latency_gate(p95, rows, 300)
    assert (got.name, got.state, got.value, got.threshold, got.blocks) == ("latency", state, p95, 300, True)


@pytest.mark.parametrize(
    ("failed", "asked", "state"),
    [(0, 100, "passed"), (2, 100, "passed"), (3, 100, "failed"), (0, 0, "undecided")],
)
def test_too_many_unanswered_rows_fail(failed: int, asked: int, state: State) -> None:
    assert teacher_failures_gate(failed, asked, 0.02).state == state


def slices(**shares: tuple[int, float]) -> list[SliceResult]:
    """Judge slices given as name=(rows, share that the student gets right); the teacher is always right."""
    student: list[float] = []
    parts = np.zeros((sum(rows for rows, _ in shares.values()), len(shares)), dtype=bool)
    for column, (rows, share) in enumerate(shares.values()):
        parts[len(student) : len(student) + rows, column] = True
        student += [1.0] * round(rows * share) + [0.0] * (rows - round(rows * share))
    resampled = estimate(PairedScores.of(student, [1.0] * len(student)), parts)
    estimates = resampled.estimates[1:]
    tested = [i for i, item in enumerate(estimates) if can_be_tested(item)]
    bounds = dict(
        zip(tested, holm_bounds(resampled.draws[:, [i + 1 for i in tested]], 0.9, 0.95), strict=True)
    )
    return slice_results(list(shares), estimates, [bounds.get(i) for i in range(len(estimates))])


def test_slices_fail_beyond_chance_only_and_thin_ones_warn() -> None:
    items = slices(good=(200, 0.99), bad=(200, 0.7), weak=(100, 0.88), thin=(20, 0.5), empty=(0, 0.0))
    assert [item.state for item in items] == ["passed", "failed", "passed", "undecided", "undecided"]
    assert slices_gate(items, 0.9, "warn") == GateResult(
        "slices",
        "failed",
        0.7,
        0.9,
        "bad below 90.0 %; too few rows to judge thin, empty (under 30); "
        "weak below 90.0 %, though not beyond chance",
        blocks=False,
    )


def test_thin_slices_block_where_the_user_says_so() -> None:
    items = slices(good=(200, 0.99), thin=(20, 0.5))
    warned, blocked = slices_gate(items, 0.9, "warn"), slices_gate(items, 0.9, "block")
    assert (warned.state, blocked.state) == ("undecided", "undecided")
    assert (verdict([warned]), verdict([blocked])) == ("passed", "undecided")


def test_a_slice_that_the_teacher_never_gets_right_decides_nothing() -> None:
    items = slice_results(["odd"], [make_estimate(None, rows=80)], [None])
    got = slices_gate(items, 0.9, "warn")
    assert (got.state, got.message) == ("undecided", "nothing to retain in odd: the teacher got no row right")


def test_no_slices_pass() -> None:
    assert slices_gate([], 0.9, "block").state == "passed"


def test_holm_rejects_from_the_worst_on_and_stops_at_the_first_that_holds() -> None:
    levels = np.linspace(0, 1, 10_001)
    # Chances of lying at or above 0.9: 1 %, 2 %, 4 %, all; Holm grants 1.25 %, then 1.67 %, and stops.
    draws = np.stack([levels + shift for shift in (-0.09, -0.08, -0.06, 0.4)], axis=1)
    got = holm_bounds(draws, 0.9, 0.95)
    assert [item.below for item in got] == [True, False, False, False]
    assert [item.level for item in got] == pytest.approx([0.05 / 4, 0.05 / 3, 0.05 / 3, 0.05 / 3])
    assert got[0].upper < 0.9 <= min(item.upper for item in got[1:])


@given(st.lists(st.floats(0.5, 1.1), max_size=8), st.randoms())
def test_holm_is_never_harsher_than_one_test_and_knows_no_order(centres: list[float], random) -> None:  # type: ignore[no-untyped-def]
    spread = np.linspace(-0.1, 0.1, 401)
    draws = spread[:, None] + np.array(centres)[None, :]
    got = holm_bounds(draws, 0.9, 0.95)
    order = random.sample(range(len(centres)), len(centres))
    shuffled = holm_bounds(draws[:, order], 0.9, 0.95)
    assert [item.below for item in shuffled] == [got[i].below for i in order]
    for item, column in zip(got, draws.T, strict=True):
        assert item.upper >= np.quantile(column, 0.95) - 1e-12
        assert item.below == (item.upper < 0.9)


@pytest.mark.soak
def test_holm_fails_a_good_student_in_at_most_5_percent_of_all_jobs() -> None:
    rng = np.random.default_rng(3)
    parts = np.repeat(np.eye(10, dtype=bool), 80, axis=0)
    alarms = 0
    for seed in range(2000):
        student = (rng.random(800) < 0.9).astype(float)
        scores = PairedScores(student, np.ones(800), np.arange(800))
        draws = estimate(scores, parts, draws=2000, seed=seed).draws[:, 1:]
        alarms += any(bound.below for bound in holm_bounds(draws, 0.9, 0.95))
    assert alarms / 2000 <= 0.06

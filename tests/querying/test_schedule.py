import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.querying.answers import Question
from distillery.querying.schedule import AWAY, MAX_TRIES, STARTUP_TRIES, Job, Schedule, backoff


def make_job(name):
    return Job(Question(name, []), name, 0)


def test_rows_due_for_another_try_go_first_and_others_in_order():
    schedule = Schedule(make_job(name) for name in "abc")
    first = schedule.take(0, True)
    schedule.retry(first, at=2.0)
    assert [schedule.take(now, True).key for now in (1.0, 2.0, 3.0)] == ["b", "a", "c"]
    assert schedule.take(4.0, True) is None
    assert len(schedule) == 0


def test_fresh_rows_can_be_held_back():
    schedule = Schedule([make_job("a"), make_job("b")])
    job = schedule.take(0, True)
    schedule.retry(job, at=1.0)
    assert schedule.take(0.5, False) is None
    assert schedule.next_retry() == 1.0
    assert schedule.take(1.0, False) is job


def test_a_probe_is_a_fresh_row_that_goes_before_those_due_for_another_try():
    schedule = Schedule([make_job("a"), make_job("b")])
    schedule.retry(schedule.take(0, True), at=1.0)
    assert schedule.take(2.0, False, probe=True).key == "a"
    schedule.retry(make_job("c"), at=1.0)
    assert [schedule.take(2.0, True, probe=True).key for _ in range(2)] == ["b", "c"]


def test_a_job_put_back_is_next():
    schedule = Schedule([make_job("a"), make_job("b")])
    schedule.put_back(schedule.take(0, True))
    assert schedule.take(0, True).key == "a"


@pytest.mark.parametrize("reason", MAX_TRIES)
def test_a_row_is_given_up_after_enough_failures_of_one_kind(reason):
    job = make_job("a")
    if reason in STARTUP_TRIES:
        job.failures[reason] = STARTUP_TRIES[reason]
        assert job.is_spent(answered=False)
        assert not job.is_spent(answered=True)
    job.failures[reason] = MAX_TRIES[reason]
    assert job.is_spent(answered=True)


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_back_off_grows_up_to_its_cap_and_is_never_all_luck(failures, luck):
    delay = backoff(failures, 0.5, 30, luck)
    full = min(30, 0.5 * 2 ** min(failures - 1, 30))
    assert full / 2 <= delay <= full


@pytest.mark.parametrize("reason", sorted(AWAY))
def test_what_a_teacher_that_is_away_does_to_all_counts_against_no_row(reason):
    job = make_job("a")
    for second in range(100):
        job.fail(reason, now=10.0 + second, responded_at=5.0)
    assert (job.failures[reason], job.away_since) == (1, 10.0)  # the first: somebody was answered before


def test_a_row_that_fails_while_others_are_answered_is_to_blame():
    job = make_job("a")
    for second in range(1, MAX_TRIES["ServerError"] + 1):
        assert not job.is_spent(answered=True)
        job.fail("ServerError", now=float(second), responded_at=second - 0.5)
    assert job.is_spent(answered=True)


def test_what_may_have_been_paid_counts_unless_other_rows_can_show_whose_fault_it_is():
    job = make_job("a")
    for _ in range(MAX_TRIES["TimedOut"]):
        job.fail("TimedOut", now=1.0, responded_at=float("-inf"), spared=True)
    assert not job.is_spent(answered=True)
    for _ in range(MAX_TRIES["TimedOut"]):
        job.fail("TimedOut", now=1.0, responded_at=float("-inf"))
    assert job.is_spent(answered=True)

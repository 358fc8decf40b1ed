import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.querying.answers import Question
from distillery.querying.request_queue import (
    AWAY,
    MAX_TRIES,
    STARTUP_TRIES,
    PendingRequest,
    RequestQueue,
    backoff,
)


def make_request(name):
    return PendingRequest(Question(name, []), name, 0)


def test_rows_due_for_another_try_go_first_and_others_in_order():
    queue = RequestQueue(make_request(name) for name in "abc")
    first = queue.take(0, True)
    queue.retry(first, at=2.0)
    assert [queue.take(now, True).key for now in (1.0, 2.0, 3.0)] == ["b", "a", "c"]
    assert queue.take(4.0, True) is None
    assert len(queue) == 0


def test_fresh_rows_can_be_held_back():
    queue = RequestQueue([make_request("a"), make_request("b")])
    request = queue.take(0, True)
    queue.retry(request, at=1.0)
    assert queue.take(0.5, False) is None
    assert queue.next_retry() == 1.0
    assert queue.take(1.0, False) is request


def test_a_probe_is_a_fresh_row_that_goes_before_those_due_for_another_try():
    queue = RequestQueue([make_request("a"), make_request("b")])
    queue.retry(queue.take(0, True), at=1.0)
    assert queue.take(2.0, False, probe=True).key == "a"
    queue.retry(make_request("c"), at=1.0)
    assert [queue.take(2.0, True, probe=True).key for _ in range(2)] == ["b", "c"]


def test_a_job_put_back_is_next():
    queue = RequestQueue([make_request("a"), make_request("b")])
    queue.put_back(queue.take(0, True))
    assert queue.take(0, True).key == "a"


@pytest.mark.parametrize("reason", MAX_TRIES)
def test_a_row_is_given_up_after_enough_failures_of_one_kind(reason):
    request = make_request("a")
    if reason in STARTUP_TRIES:
        request.failures[reason] = STARTUP_TRIES[reason]
        assert request.is_spent(answered=False)
        assert not request.is_spent(answered=True)
    request.failures[reason] = MAX_TRIES[reason]
    assert request.is_spent(answered=True)


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_back_off_grows_up_to_its_cap_and_is_never_all_luck(failures, luck):
    delay = backoff(failures, 0.5, 30, luck)
    full = min(30, 0.5 * 2 ** min(failures - 1, 30))
    assert full / 2 <= delay <= full


@pytest.mark.parametrize("reason", sorted(AWAY))
def test_what_a_teacher_that_is_away_does_to_all_counts_against_no_row(reason):
    request = make_request("a")
    for second in range(100):
        request.fail(reason, now=10.0 + second, responded_at=5.0)
    assert (request.failures[reason], request.away_since) == (
        1,
        10.0,
    )  # the first: somebody was answered before


def test_a_row_that_fails_while_others_are_answered_is_to_blame():
    request = make_request("a")
    for second in range(1, MAX_TRIES["ServerError"] + 1):
        assert not request.is_spent(answered=True)
        request.fail("ServerError", now=float(second), responded_at=second - 0.5)
    assert request.is_spent(answered=True)


def test_what_may_have_been_paid_counts_unless_other_rows_can_show_whose_fault_it_is():
    request = make_request("a")
    for _ in range(MAX_TRIES["TimedOut"]):
        request.fail("TimedOut", now=1.0, responded_at=float("-inf"), spared=True)
    assert not request.is_spent(answered=True)
    for _ in range(MAX_TRIES["TimedOut"]):
        request.fail("TimedOut", now=1.0, responded_at=float("-inf"))
    assert request.is_spent(answered=True)

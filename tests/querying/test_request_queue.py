from dataclasses import replace

from distillery.querying.answers import Question
from distillery.querying.dispatch import PendingRequest, RequestQueue
from distillery.querying.history import Streak, TeacherHistory
from distillery.querying.limits import EngineOptions

WELL = TeacherHistory.begin(EngineOptions(), 1)
DOUBTED = replace(WELL, streak=Streak(calls=WELL.threshold))


def make_request(name):
    return PendingRequest(Question(name, []), name, 0)


def probed(at):
    """A doubted teacher that was probed then."""
    return replace(DOUBTED, probed_at=at)


def test_rows_due_for_another_try_go_first_and_others_in_order():
    queue = RequestQueue(make_request(name) for name in "abc")
    first = queue.take(WELL, 0)
    queue.retry(first, at=2.0)
    assert [queue.take(WELL, now).key for now in (1.0, 2.0, 3.0)] == ["b", "a", "c"]
    assert queue.take(WELL, 4.0) is None
    assert len(queue) == 0


def test_fresh_rows_are_held_back_after_a_probe():
    queue = RequestQueue([make_request("a"), make_request("b")])
    request = queue.take(WELL, 0)
    queue.retry(request, at=1.0)
    assert queue.take(probed(0.4), 0.5) is None
    assert queue.next_retry() == 1.0
    assert queue.take(probed(0.4), 1.0) is request


def test_a_probe_is_a_fresh_row_that_goes_before_those_due_for_another_try():
    queue = RequestQueue([make_request("a"), make_request("b")])
    queue.retry(queue.take(WELL, 0), at=1.0)
    queue.retry(make_request("c"), at=1.5)
    assert [queue.take(DOUBTED, 2.0).key for _ in range(3)] == ["b", "a", "c"]


def test_a_request_put_back_is_next():
    queue = RequestQueue([make_request("a"), make_request("b")])
    queue.put_back(queue.take(WELL, 0))
    assert queue.take(WELL, 0).key == "a"

from distillery.querying.answers import Question
from distillery.querying.request_queue import PendingRequest, RequestQueue


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

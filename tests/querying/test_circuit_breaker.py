from distillery.querying.answers import Question
from distillery.querying.circuit_breaker import WITNESSES, CircuitBreaker
from distillery.querying.request_queue import PendingRequest


def make_breaker(threshold=3):
    return CircuitBreaker(threshold, outage_seconds=10, startup_seconds=4)


def make_request(name="a"):
    return PendingRequest(Question(name, []), name, 0)


def fail(breaker, now, request=None, reason="ServerError"):
    request = request or make_request()
    request.fail(reason, now, breaker.responded_at)
    breaker.failed(now, request, "503")
    return request


def fail_many(breaker, now, count=WITNESSES):
    return [fail(breaker, now, make_request(str(number))) for number in range(count)]


def test_single_failures_between_successes_hold_nothing_back():
    breaker = make_breaker()
    for second in range(20):
        fail(breaker, second)
        fail(breaker, second)
        breaker.succeeded(second)
    assert breaker.allows_fresh(20)
    assert not breaker.is_down(1000, 0)


def test_failures_in_a_row_leave_one_probe_a_second():
    breaker = make_breaker()
    breaker.succeeded(0.0)
    for _ in range(3):
        fail(breaker, 5.0)
    assert breaker.allows_fresh(5.0)
    breaker.sent_fresh(5.0)
    assert not breaker.allows_fresh(5.9)
    assert breaker.allows_fresh(6.0)


def test_an_outage_is_failures_of_many_rows_for_long_enough():
    breaker = make_breaker()
    breaker.succeeded(0.0)
    fail_many(breaker, 5.0, WITNESSES - 1)
    assert not breaker.is_down(15.0, 0)
    fail(breaker, 6.0, make_request("one more"))
    assert not breaker.is_down(14.9, 0)
    assert breaker.is_down(15.0, 0)
    assert breaker.last == "503"


def test_a_teacher_that_never_answered_gets_less_time():
    breaker = make_breaker()
    fail_many(breaker, 5.0)
    assert not breaker.is_down(8.9, 0)
    assert breaker.is_down(9.0, 0)


def test_any_reply_ends_the_outage():
    breaker = make_breaker()
    fail_many(breaker, 5.0)
    breaker.responded(6.0)
    assert not breaker.is_open
    assert not breaker.is_down(100, 0)


def test_the_time_between_two_rounds_is_no_outage():
    breaker = make_breaker()
    fail_many(breaker, 5.0)
    breaker.begin()
    fail_many(breaker, 100.0)
    assert not breaker.is_down(101.0, 0)


def test_more_calls_under_way_than_rows_that_failed_may_still_be_answered():
    breaker = make_breaker()
    fail_many(breaker, 5.0)
    assert not breaker.is_down(100.0, WITNESSES + 1)
    assert breaker.is_down(100.0, WITNESSES)


def test_one_row_that_fails_often_and_rows_that_failed_while_others_were_answered_are_no_witnesses():
    breaker = make_breaker()
    breaker.succeeded(0.0)
    suspects = fail_many(breaker, 1.0)
    breaker.succeeded(2.0)
    for request in suspects:
        fail(breaker, 3.0, request)
    for _ in range(100):
        fail(breaker, 4.0, suspects[0])
    assert all(request.is_suspect for request in suspects)
    assert not breaker.is_down(100.0, 0)


def test_a_row_is_left_when_nobody_can_tell_whose_fault_it_is_and_the_time_is_over():
    breaker = make_breaker()
    breaker.succeeded(0.0)
    request = fail(breaker, 5.0)
    assert not breaker.leaves(request, 14.9, fresh=False)
    assert not breaker.leaves(request, 15.0, fresh=True)
    assert breaker.leaves(request, 15.0, fresh=False)
    fail_many(breaker, 6.0)
    assert not breaker.leaves(request, 15.0, fresh=False)


def test_a_pause_that_the_teacher_asked_for_is_no_absence():
    breaker = make_breaker()
    breaker.succeeded(0.0)
    fail_many(breaker, 5.0)
    request = fail(breaker, 5.0, make_request("last"))
    breaker.asked_to_wait(105.0)
    fail(breaker, 106.0, request)
    assert not breaker.is_down(106.0, 0)
    assert not breaker.leaves(request, 106.0, fresh=False)
    assert not breaker.is_down(114.9, 0)
    assert breaker.is_down(115.0, 0)

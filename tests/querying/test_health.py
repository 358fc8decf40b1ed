from distillery.querying.answers import Question
from distillery.querying.health import WITNESSES, Health
from distillery.querying.schedule import Job


def make_health(threshold=3):
    return Health(threshold, outage_seconds=10, startup_seconds=4)


def make_job(name="a"):
    return Job(Question(name, []), name, 0)


def fail(health, now, job=None, reason="ServerError"):
    job = job or make_job()
    job.fail(reason, now, health.responded_at)
    health.failed(now, job, "503")
    return job


def fail_many(health, now, count=WITNESSES):
    return [fail(health, now, make_job(str(number))) for number in range(count)]


def test_single_failures_between_successes_hold_nothing_back():
    health = make_health()
    for second in range(20):
        fail(health, second)
        fail(health, second)
        health.succeeded(second)
    assert health.allows_fresh(20)
    assert not health.is_down(1000, 0)


def test_failures_in_a_row_leave_one_probe_a_second():
    health = make_health()
    health.succeeded(0.0)
    for _ in range(3):
        fail(health, 5.0)
    assert health.allows_fresh(5.0)
    health.sent_fresh(5.0)
    assert not health.allows_fresh(5.9)
    assert health.allows_fresh(6.0)


def test_an_outage_is_failures_of_many_rows_for_long_enough():
    health = make_health()
    health.succeeded(0.0)
    fail_many(health, 5.0, WITNESSES - 1)
    assert not health.is_down(15.0, 0)
    fail(health, 6.0, make_job("one more"))
    assert not health.is_down(14.9, 0)
    assert health.is_down(15.0, 0)
    assert health.last == "503"


def test_a_teacher_that_never_answered_gets_less_time():
    health = make_health()
    fail_many(health, 5.0)
    assert not health.is_down(8.9, 0)
    assert health.is_down(9.0, 0)


def test_any_reply_ends_the_outage():
    health = make_health()
    fail_many(health, 5.0)
    health.responded(6.0)
    assert not health.is_open
    assert not health.is_down(100, 0)


def test_the_time_between_two_rounds_is_no_outage():
    health = make_health()
    fail_many(health, 5.0)
    health.begin()
    fail_many(health, 100.0)
    assert not health.is_down(101.0, 0)


def test_more_calls_under_way_than_rows_that_failed_may_still_be_answered():
    health = make_health()
    fail_many(health, 5.0)
    assert not health.is_down(100.0, WITNESSES + 1)
    assert health.is_down(100.0, WITNESSES)


def test_one_row_that_fails_often_and_rows_that_failed_while_others_were_answered_are_no_witnesses():
    health = make_health()
    health.succeeded(0.0)
    suspects = fail_many(health, 1.0)
    health.succeeded(2.0)
    for job in suspects:
        fail(health, 3.0, job)
    for _ in range(100):
        fail(health, 4.0, suspects[0])
    assert all(job.is_suspect for job in suspects)
    assert not health.is_down(100.0, 0)


def test_a_row_is_left_when_nobody_can_tell_whose_fault_it_is_and_the_time_is_over():
    health = make_health()
    health.succeeded(0.0)
    job = fail(health, 5.0)
    assert not health.leaves(job, 14.9, fresh=False)
    assert not health.leaves(job, 15.0, fresh=True)
    assert health.leaves(job, 15.0, fresh=False)
    fail_many(health, 6.0)
    assert not health.leaves(job, 15.0, fresh=False)


def test_a_pause_that_the_teacher_asked_for_is_no_absence():
    health = make_health()
    health.succeeded(0.0)
    fail_many(health, 5.0)
    job = fail(health, 5.0, make_job("last"))
    health.asked_to_wait(105.0)
    fail(health, 106.0, job)
    assert not health.is_down(106.0, 0)
    assert not health.leaves(job, 106.0, fresh=False)
    assert not health.is_down(114.9, 0)
    assert health.is_down(115.0, 0)

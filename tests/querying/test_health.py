from distillery.querying.health import Health


def make_health():
    return Health(threshold=3, outage_seconds=10, startup_seconds=4)


def probe(health, now):
    for _ in range(3):
        health.sent_fresh(now)
        health.failed(now, "503")


def test_single_failures_between_successes_hold_nothing_back():
    health = make_health()
    for second in range(20):
        health.failed(second, "500")
        health.failed(second, "500")
        health.succeeded(0.0)
    assert health.allows_fresh(20)
    assert not health.is_down(1000)


def test_failures_in_a_row_leave_one_probe_a_second():
    health = make_health()
    health.succeeded(0.0)
    for _ in range(3):
        health.failed(5.0, "500")
    assert health.allows_fresh(5.0)
    health.sent_fresh(5.0)
    assert not health.allows_fresh(5.9)
    assert health.allows_fresh(6.0)


def test_an_outage_is_failures_for_long_enough():
    health = make_health()
    health.succeeded(0.0)
    for _ in range(3):
        health.failed(5.0, "503")
    assert not health.is_down(15.0)
    probe(health, 6.0)
    assert not health.is_down(14.9)
    assert health.is_down(15.0)
    assert health.last == "503"


def test_a_teacher_that_never_answered_gets_less_time():
    health = make_health()
    for _ in range(3):
        health.failed(5.0, "refused")
    probe(health, 6.0)
    assert not health.is_down(8.9)
    assert health.is_down(9.0)


def test_any_answer_ends_the_outage():
    health = make_health()
    for _ in range(3):
        health.failed(5.0, "500")
    health.responded(6.0)
    assert not health.is_open
    assert not health.is_down(100)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.querying.pacing import CATCH_UP, Pacer


def send(pacer, seconds, late=lambda: 0.0, start=100.0):
    """Send as often as allowed for a while; returns the times."""
    now, times = start, []
    while now < start + seconds:
        delay = pacer.delay(now)
        if delay > 0:
            now += delay + late()
            continue
        pacer.sent(now)
        times.append(now)
    return times


def test_calls_are_evenly_spaced_without_a_burst_at_the_start():
    times = send(Pacer(600), 10)
    assert len(times) == pytest.approx(100, abs=2)
    assert max(sum(1 for t in times if start <= t < start + 1) for start in times) <= 11


@given(st.lists(st.floats(0, 0.02), min_size=1, max_size=50))
def test_late_wake_ups_cost_no_throughput_and_make_no_bursts(delays):
    calls = iter(range(10**9))
    times = send(Pacer(6000), 20, late=lambda: delays[next(calls) % len(delays)])
    assert len(times) >= 0.97 * 2000
    window = 1.0
    most = max(sum(1 for t in times if start <= t < start + window) for start in times[::50])
    assert most <= 100 * (window + CATCH_UP) + 2


def test_without_a_limit_nothing_waits():
    pacer = Pacer(None)
    for _ in range(1000):
        assert pacer.delay(5.0) == 0
        pacer.sent(5.0)


def test_a_refusal_pauses_everyone_and_slows_down():
    pacer = Pacer(600)
    pacer.sent(0.0)
    pacer.refused(0.0, 2.0)
    assert pacer.delay(0.5) == pytest.approx(1.5)
    assert pacer.spacing == pytest.approx(0.13)


def test_refusals_of_one_second_slow_down_once():
    pacer = Pacer(600)
    for _ in range(50):
        pacer.refused(10.0, 0.1)
    assert pacer.spacing == pytest.approx(0.13)


def test_quiet_seconds_bring_the_configured_rate_back():
    pacer = Pacer(600)
    pacer.refused(0.0, 0.1)
    send(pacer, 60, start=1.0)
    assert pacer.spacing == pytest.approx(0.1)


def test_a_limit_half_the_configured_one_is_found_with_few_refusals():
    pacer, now, bucket, last = Pacer(6000), 0.0, 5.0, 0.0
    sent = refused = 0
    while now < 60:
        delay = pacer.delay(now)
        if delay > 0:
            now += delay
            continue
        pacer.sent(now)
        sent += 1
        bucket, last = min(5.0, bucket + (now - last) * 50), now
        if bucket < 1:
            refused += 1
            pacer.refused(now, (1 - bucket) / 50)
        else:
            bucket -= 1
    assert (sent - refused) / 60 >= 0.85 * 50
    assert refused <= 0.1 * sent

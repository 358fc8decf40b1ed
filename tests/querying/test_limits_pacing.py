import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.querying.limits import CATCH_UP, Pacer


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


@settings(max_examples=20)
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


def test_a_refusal_pauses_everyone():
    pacer = Pacer(600)
    pacer.sent(0.0)
    pacer.throttled(0.0, 2.0)
    assert pacer.delay(0.5) == pytest.approx(1.5)


def test_a_window_with_refusals_sets_the_spacing_of_the_accepted_calls():
    pacer = Pacer(600)
    for tick in (0.1, 0.3, 0.5):
        pacer.accepted(tick)
    pacer.throttled(0.65, 0.0)
    assert pacer.spacing == pytest.approx(1.02 * 0.55 / 3)


def test_only_refusals_slow_down_step_by_step_but_not_for_ever():
    pacer, spacings = Pacer(600), []
    for tick in range(200):
        pacer.throttled(float(tick), 0.0)
        spacings.append(pacer.spacing)
    assert spacings == sorted(spacings)
    assert spacings[-1] == 10.0


def test_quiet_windows_bring_the_configured_rate_back():
    pacer = Pacer(600)
    pacer.spacing = 2.0
    for tick in range(20):
        pacer.accepted(tick * 1.0)
    assert pacer.spacing == pytest.approx(0.1)


def drive(pacer, limit_at, seconds, latency=0.2, concurrency=64):
    """Send against a token bucket with 0.1 s of burst for a while; returns accepted and refused times."""
    now, bucket, last, replies = 0.0, 1.0, 0.0, []
    accepted, refused = [], []
    while now < seconds:
        while replies and replies[0][0] <= now:
            at, ok, wait = replies.pop(0)
            if ok:
                pacer.accepted(at)
                accepted.append(at)
            else:
                pacer.throttled(at, wait)
                refused.append(at)
        if (delay := pacer.delay(now)) > 0 or len(replies) >= concurrency:
            now += max(0.0005, min(delay, 0.05))
            continue
        pacer.sent(now)
        limit = limit_at(now)
        bucket, last = min(max(1.0, limit / 10), bucket + (now - last) * limit), now
        ok = bucket >= 1
        bucket -= ok
        replies.append((now + latency, ok, (1 - bucket) / limit))
        replies.sort()
    return accepted, refused


@pytest.mark.parametrize("configured", [3000, 6000, 30000, None])
def test_the_teachers_real_limit_is_found_whatever_was_configured(configured):
    accepted, refused = drive(Pacer(configured), lambda _: 50, 60)
    late = [at for at in accepted if at >= 10]
    assert len(late) / 50 >= 0.93 * 50
    assert sum(at >= 10 for at in refused) <= 0.06 * len(late)


def test_a_limit_that_halves_and_recovers_is_followed():
    accepted, refused = drive(Pacer(6000), lambda now: 50 if 30 <= now < 60 else 100, 90)

    def rate(start, stop):
        return sum(start <= at < stop for at in accepted) / (stop - start)

    assert rate(10, 30) >= 90
    assert rate(35, 60) >= 44
    assert rate(75, 90) >= 90
    assert len(refused) <= 0.1 * len(accepted)


def test_replies_may_be_told_together():
    one, other = Pacer(None), Pacer(None)
    for pacer in (one, other):
        pacer.accepted(0.0)
    for _ in range(9):
        one.accepted(0.3)
    one.throttled(0.6, 0.2)
    other.hear(0.6, 9, (0.1, 0.2))
    other.hear(0.6, 0, ())
    assert (one.spacing, one.paused_until) == (other.spacing, other.paused_until)
    assert one.spacing > 0

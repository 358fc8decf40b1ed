"""The limiter with workers that behave in any way; time is simulated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distillery.stages.teacher.lease import HORIZON, LeaseRequest
from distillery.stages.teacher.limiter import Limiter


def ask(limiter: Limiter, worker: str, now: float = 0.0, **news: object) -> object:
    return limiter.exchange(LeaseRequest(worker=worker, **news), now)  # type: ignore[arg-type]


def begun(
    rate: int | None = None, limit: int | None = None, concurrency: int = 8, workers: str = "ab"
) -> Limiter:
    limiter = Limiter(rate, limit)
    limiter.begin(concurrency, 0, dict.fromkeys(workers, 1000))
    return limiter


def test_without_limits_a_worker_may_start_whenever_it_likes():
    grant = ask(begun(), "a", waiting=10, calls=4)
    assert (grant.starts, grant.pause, grant.money, grant.final) == (None, 0.0, None, False)


def test_starts_are_spaced_and_reach_no_further_than_the_horizon():
    limiter = begun(rate=6000)  # one every 10 ms
    first = ask(limiter, "a", waiting=100, calls=100).starts
    assert [round(start, 6) for start in first[5:]] == [round(0.01 * n, 6) for n in range(10)]
    assert first[:5] == (0.0,) * 5  # what the pacer lets late calls make good
    rest = ask(limiter, "b", waiting=100, calls=100).starts
    assert (round(rest[0], 6), round(rest[-1], 6)) == (0.1, HORIZON)
    later = ask(limiter, "a", now=0.1, waiting=100, calls=100).starts
    assert round(later[0], 6) == 0.06
    assert later[-1] <= HORIZON


def test_workers_take_turns_even_if_one_always_asks_first():
    limiter = begun(rate=600)
    counts = {"a": 0, "b": 0, "c": 0}
    for tick in range(200):
        for worker in counts:
            counts[worker] += len(ask(limiter, worker, now=0.1 * tick, waiting=50, calls=8).starts)
    assert abs(sum(counts.values()) - 201) <= 2  # 20 s, and the horizon
    assert max(counts.values()) - min(counts.values()) <= 4


def test_a_worker_that_comes_late_gets_its_turn_and_not_what_it_missed():
    limiter = begun(rate=600)
    for tick in range(100):
        ask(limiter, "a", now=0.1 * tick, waiting=50, calls=8)
    counts = {"a": 0, "b": 0}
    for tick in range(100, 200):
        for worker in counts:
            counts[worker] += len(ask(limiter, worker, now=0.1 * tick, waiting=50, calls=8).starts)
    assert abs(counts["a"] - counts["b"]) <= 4


def test_a_refusal_told_by_one_worker_pauses_the_others_and_slows_all():
    limiter = begun(rate=60000)
    ask(limiter, "a", now=0.0, waiting=50, calls=8, accepted=5)
    ask(limiter, "a", now=0.6, waiting=50, calls=8, accepted=10, throttles=(0.8,))
    other = ask(limiter, "b", now=0.65, waiting=50, calls=8)
    assert other.starts == ()
    assert round(other.pause, 6) == 0.75
    assert limiter.pacer.spacing > limiter.pacer.cap


def test_calls_under_way_are_shared_and_lent_to_who_needs_them():
    limiter = begun(concurrency=8)
    assert ask(limiter, "a", waiting=100).concurrency == 4
    assert ask(limiter, "b", waiting=2).concurrency == 2
    assert ask(limiter, "a", under_way=4, waiting=96).concurrency == 6
    assert ask(limiter, "b", under_way=2, waiting=50).concurrency == 2  # none is free yet
    assert ask(limiter, "a", under_way=6, waiting=90).concurrency == 6  # what runs, runs
    assert ask(limiter, "a", under_way=3, waiting=90).concurrency == 4
    assert ask(limiter, "b", under_way=2, waiting=50).concurrency == 4


def test_money_is_lent_as_long_as_there_is_some_and_comes_back():
    limiter = begun(limit=100)
    assert ask(limiter, "a", waiting=9, wanted=70).money == 70
    assert ask(limiter, "b", waiting=9, wanted=70).money == 30
    poor = ask(limiter, "b", waiting=9, returned=30, wanted=40, least=40)
    assert (poor.money, poor.final) == (0, False)  # the other one may give something back
    ask(limiter, "a", paid=50, returned=20)
    assert ask(limiter, "b", waiting=9, wanted=40, least=40).money == 40
    last = ask(limiter, "a", waiting=9, wanted=20, least=20)
    assert (last.money, last.final) == (0, False)
    ask(limiter, "b", paid=40)
    last = ask(limiter, "a", waiting=9, wanted=20, least=20)
    assert (last.money, last.final) == (0, True)
    assert last.budget.spent == 90


def test_a_lost_worker_leaves_what_the_ledger_says_it_has_spent():
    limiter = begun(limit=100)
    ask(limiter, "a", waiting=9, wanted=90)
    ask(limiter, "a", waiting=9, paid=20)
    limiter.remove("a", paid=35)
    assert limiter.budget.spent == 35
    assert ask(limiter, "b", waiting=9, wanted=90).money == 65
    assert ask(limiter, "b", waiting=9).concurrency == 8


def test_a_worker_that_was_taken_for_dead_and_comes_back_gets_nothing_and_takes_nothing_from_the_others():
    limiter = begun(rate=6000, limit=100)
    ask(limiter, "a", waiting=9, calls=4, wanted=50)
    limiter.remove("a", paid=20)
    for tick in range(1, 30):
        ghost = ask(limiter, "a", now=0.1 * tick, under_way=2, waiting=9, calls=4, paid=1, wanted=50)
        assert (ghost.concurrency, ghost.starts, ghost.money) == (0, (), 0)
    assert limiter.budget.spent == 20  # the ledger had counted its calls under way
    grant = ask(limiter, "b", now=3.0, waiting=9, calls=4, wanted=80)
    assert (grant.concurrency, len(grant.starts), grant.money) == (8, 4, 80)
    ask(limiter, "b", now=3.1, paid=80)
    assert ask(limiter, "b", now=3.2, waiting=9, wanted=20, least=20).final  # and the stage comes to its end


def test_a_ghost_of_an_unlimited_pool_gets_nothing_either():
    limiter = begun()
    limiter.remove("a", paid=0)
    ghost = ask(limiter, "a", waiting=9, calls=4)
    assert (ghost.concurrency, ghost.starts, ghost.money) == (0, (), None)


def test_a_worker_that_is_revoked_gets_nothing_more_and_what_it_has_counts_until_it_is_gone():
    limiter = begun(limit=100)
    ask(limiter, "a", waiting=9, wanted=60)
    limiter.revoke("a")
    news = ask(limiter, "a", under_way=4, waiting=9, paid=10, wanted=40)
    assert (news.concurrency, news.starts, news.money, news.final) == (0, (), 0, False)
    assert limiter.budget.spent == 10
    other = ask(limiter, "b", waiting=9, wanted=90)
    assert (other.concurrency, other.money) == (4, 40)
    limiter.remove("a", paid=30)
    assert limiter.budget.spent == 30
    other = ask(limiter, "b", waiting=9, wanted=90)
    assert (other.concurrency, other.money) == (8, 30)


def test_refusals_count_whoever_tells_of_them():
    limiter = begun(rate=6000)
    limiter.remove("a", paid=0)
    ask(limiter, "a", throttles=(0.8,))
    assert ask(limiter, "b", now=0.1, waiting=9, calls=4).pause > 0.6


def test_a_worker_may_be_revoked_that_the_limiter_never_knew():
    limiter = begun(limit=100)
    limiter.revoke("c")
    limiter.remove("c", paid=5)
    assert limiter.budget.spent == 5


step = st.tuples(
    st.sampled_from("abc"), st.floats(0.0, 0.3), st.integers(0, 9), st.integers(0, 30), st.floats(0.0, 1.0)
)


@given(st.lists(step, max_size=80), st.integers(60, 6000), st.integers(0, 500))
def test_the_limits_hold_over_all_workers_whatever_they_do(steps, rate, limit):
    limiter = Limiter(rate, limit)
    limiter.begin(10, 20, dict.fromkeys("abc", 50))
    now, held, lent, starts = 0.0, dict.fromkeys("abc", 0), dict.fromkeys("abc", 0), []
    for worker, wait, under_way, waiting, part in steps:
        now += wait
        paid = int(lent[worker] * part)
        returned = int((lent[worker] - paid) * part)
        grant = limiter.exchange(
            LeaseRequest(
                worker,
                under_way=min(under_way, held[worker]),
                waiting=waiting,
                calls=waiting,
                paid=paid,
                returned=returned,
                wanted=10 * waiting,
            ),
            now,
        )
        lent[worker] += grant.money - paid - returned
        held[worker] = grant.concurrency
        starts += [now + start for start in grant.starts]
        assert sum(held.values()) <= 10
        assert limiter.budget.spent + sum(lent.values()) <= max(0, limit - 20)
    starts.sort()
    for index, start in enumerate(starts):  # no window holds more than its part, and 50 ms of catching up
        within = sum(start <= other < start + 1 for other in starts[index:])
        assert within <= rate / 60 * 1.05 + 1 + 1e-6

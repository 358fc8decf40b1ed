"""A worker's side, with a limiter that answers at once and a clock that is turned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from distillery.errors import StageFailed
from distillery.querying.limits import Demand
from distillery.stages.teacher.lease import STALE, VALID, Lease, LeaseGrant, LeaseRequest
from distillery.stages.teacher.limiter import Limiter


class Desk:
    """A limiter, and what it was asked."""

    def __init__(self, rate: int | None = None, limit: int | None = None, concurrency: int = 4) -> None:
        self.now = 100.0
        self.limiter = Limiter(rate, limit)
        self.limiter.begin(concurrency, 0, {"a": 50})
        self.requests: list[LeaseRequest] = []
        self.lease = Lease("a", self.exchange, limit, lambda: self.now)
        self.lease.begin(0, 0)

    async def exchange(self, request: LeaseRequest) -> LeaseGrant:
        self.requests.append(request)
        return self.limiter.exchange(request, self.now)

    def renew(self, demand: Demand) -> None:
        asyncio.run(self.lease._renew(demand))


def test_nothing_starts_before_the_first_grant_or_long_after_the_last():
    desk = Desk()
    assert not desk.lease.room(0)
    assert desk.lease.delay(desk.now) > VALID
    desk.renew(Demand(0, 50, 10))
    assert desk.lease.room(3)
    assert not desk.lease.room(4)
    assert desk.lease.delay(desk.now) == 0.0
    assert desk.lease.delay(desk.now + VALID) > VALID


def test_a_start_serves_one_call_and_is_lost_when_stale():
    desk = Desk(rate=1200)  # one every 50 ms
    desk.renew(Demand(0, 50, 10))
    for under_way in (1, 2, 3):
        assert desk.lease.delay(desk.now) <= 0.05
        desk.now += desk.lease.delay(desk.now)
        desk.lease.sent(desk.now)
        desk.renew(Demand(under_way, 50, 10))
    assert 0 < desk.lease.delay(desk.now) <= 0.05
    assert desk.lease.delay(desk.now + 0.05) == 0.0
    assert desk.lease.delay(desk.now + STALE + 0.2) > VALID


def test_money_is_reserved_from_the_lease_and_all_of_it_returned():
    desk = Desk(limit=100)
    desk.renew(Demand(0, 50, 20))
    assert desk.lease.reserve(20) == 20
    desk.lease.sent(desk.now)
    desk.renew(Demand(1, 49, 20))
    assert [desk.lease.reserve(20) for _ in range(5)] == [20, 20, 20, 20, None]
    assert not desk.lease.exhausted()
    assert not desk.lease.settle(20, 5)
    assert desk.lease.reserve(20) is None  # 15 are left of the lease
    desk.renew(Demand(4, 45, 20))
    assert not desk.lease.exhausted()  # calls are still under way
    for _ in range(4):
        desk.lease.settle(20, 20)
    assert desk.lease.reserve(20) is None
    desk.renew(Demand(0, 45, 20))
    assert desk.lease.exhausted()
    assert desk.lease.budget.spent == 85
    desk.renew(Demand())
    assert desk.limiter.exchange(LeaseRequest("b", waiting=1, wanted=99), desk.now).money == 15


def test_a_bill_above_its_reserve_raises_later_reserves():
    desk = Desk(limit=100)
    desk.renew(Demand(0, 50, 10))
    assert desk.lease.reserve(10) == 10
    assert desk.lease.settle(10, 13)
    desk.renew(Demand(0, 49, 10))
    assert desk.lease.reserve(10) == 13
    assert desk.lease.budget.overrun == 3


def test_without_a_budget_everything_can_be_reserved():
    desk = Desk()
    assert desk.lease.reserve(10**15) == 10**15
    desk.lease.settle(10**15, 10**14)
    desk.renew(Demand(0, 1, 10**15))
    assert desk.limiter.budget.spent == 10**14


def test_a_refusal_pauses_at_once_and_is_told_with_the_next_request():
    desk = Desk()
    desk.renew(Demand(0, 50, 10))
    desk.lease.throttled(desk.now, 0.5)
    assert desk.lease.delay(desk.now) == pytest.approx(0.5)
    desk.renew(Demand(0, 50, 10))
    assert desk.requests[-1].throttles == (0.5,)
    assert desk.lease.delay(desk.now) == pytest.approx(0.5)


def keep(desk: Desk, demand: Callable[[], Demand]) -> None:
    async def run() -> None:
        desk.lease.begin(0, 0)
        rounds = 0

        def changed() -> None:
            nonlocal rounds
            rounds += 1
            if rounds == 3:
                desk.lease.end()

        await desk.lease.keep(demand, changed)

    asyncio.run(run())


def test_keeping_ends_with_everything_given_back():
    desk = Desk(limit=100)
    keep(desk, lambda: Demand(0, 50, 10))
    assert len(desk.requests) == 4
    assert (desk.requests[-1].waiting, desk.requests[-1].wanted) == (0, 0)
    assert desk.limiter.exchange(LeaseRequest("b", waiting=1, wanted=100), desk.now).money == 100


def test_without_the_limiter_keeping_fails():
    async def exchange(_: LeaseRequest) -> LeaseGrant:
        raise StageFailed("LimiterLost", "gone", "infrastructure")

    async def run() -> None:
        lease = Lease("a", exchange, None)
        lease.begin(0, 0)
        await lease.keep(Demand, lambda: None)

    with pytest.raises(StageFailed, match="gone"):
        asyncio.run(run())


def test_a_grant_that_travels_for_long_is_valid_from_when_it_was_asked_for():
    desk = Desk()
    exchange = desk.exchange

    async def slow(request: LeaseRequest) -> LeaseGrant:
        grant = await exchange(request)
        desk.now += VALID
        return grant

    desk.lease = Lease("a", slow, None, lambda: desk.now)
    desk.lease.begin(0, 0)
    desk.renew(Demand(0, 50, 10))
    assert desk.lease.delay(desk.now) > VALID

"""What both implementations of Limits owe a round: an engine's own, and what a query worker holds on lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.querying.limits import BudgetAccount, Demand, Limits, OwnLimits
from distillery.stages.teacher.lease import Lease, LeaseGrant, LeaseRequest

PLENTY = 10**9


def own() -> OwnLimits:
    limits = OwnLimits(None, PLENTY)
    limits.begin(1000, 0)
    return limits


def lease() -> Lease:
    async def exchange(_: LeaseRequest) -> LeaseGrant:
        return LeaseGrant(1000, None, 0.0, PLENTY, False, BudgetAccount(PLENTY))

    limits = Lease("a", exchange, PLENTY)
    limits.begin(1000, 0)
    asyncio.run(limits._renew(Demand(0, 1000, 1)))
    return limits


@pytest.mark.parametrize("make", [own, lease])
def test_calls_under_way_that_cost_too_much_in_the_same_way_raise_later_reserves_once(
    make: Callable[[], Limits],
) -> None:
    limits = make()
    for reserved in [limits.reserve(100) for _ in range(64)]:
        assert reserved == 100
        assert limits.settle(reserved, 600, 100)
    assert limits.reserve(100) == 600
    assert not limits.settle(600, 600, 100)
    assert limits.reserve(100) == 600


@pytest.mark.parametrize("make", [own, lease])
@given(bills=st.lists(st.tuples(st.integers(1, 100), st.integers(0, 300)), max_size=30))
def test_reserves_are_raised_by_the_most_that_a_bill_exceeded_what_its_text_allows(
    make: Callable[[], Limits], bills: list[tuple[int, int]]
) -> None:
    limits = make()
    most = 0
    for bound, paid in bills:
        reserved = limits.reserve(bound)
        assert reserved == bound + most
        assert limits.settle(reserved, paid, bound) == (paid > reserved)
        most = max(most, paid - bound)
    assert limits.reserve(1) == 1 + most

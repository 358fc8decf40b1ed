"""A lease: what a query worker may do until the limiter grants it more, and what the two say to each other.

One request, one grant, about ten times a second. Clocks of different machines do not compare, so times are told as
seconds from now. The worker's side keeps to querying's `Limits`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from distillery.querying import BudgetAccount, Demand

PERIOD = 0.1
"""Seconds between the requests of a busy worker."""
HORIZON = 0.15
"""Starts are granted so far ahead: a period, and what it takes to hear of them."""
VALID = 2.0
"""Without a new grant, a worker starts nothing after so many seconds."""
LAPSE = VALID + PERIOD
"""So long after the last grant was given none is in force any more; it took a moment to travel."""
GAP = 0.02
"""Seconds between requests at least."""
STALE = 0.25
"""A start that was not used so long after its time is lost: made good later, it would be a burst."""
SOON = 3600.0
"""Until a grant comes; it wakes the round."""


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """A worker's news since its last request, and what it would like to have. Amounts are picos."""

    worker: str
    under_way: int = 0
    waiting: int = 0
    """Requests that could be sent at once."""
    calls: int = 0
    """How many of them the worker can start within a period."""
    accepted: int = 0
    """Replies that were not throttled."""
    throttles: tuple[float, ...] = ()
    """Throttled replies: seconds that nothing may be sent."""
    paid: int = 0
    returned: int = 0
    """Lent money that it does not need."""
    wanted: int = 0
    least: int = 0
    """Less than this would be of no use."""
    overrun: int = 0


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """What a worker may do until its next request."""

    concurrency: int
    """Calls under way at once."""
    starts: tuple[float, ...] | None
    """When calls may start; None: whenever it likes."""
    pause: float
    """Nothing may start before."""
    money: int | None
    """Lent beside what it has; None: there is no budget."""
    final: bool
    """Whether what it asked for in vain will never be there."""
    budget: BudgetAccount
    """The object's money, for messages."""


Exchange = Callable[[LeaseRequest], Awaitable[LeaseGrant]]


class Lease:
    """Limits as granted to one worker. Nothing may start before the first grant."""

    def __init__(
        self, worker: str, exchange: Exchange, limit: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`exchange` carries a request to the limiter; `limit` is the object's budget in picos."""
        self.budget = BudgetAccount(limit)
        self._worker, self._exchange, self._clock = worker, exchange, clock
        self._concurrency = 0
        self._starts: deque[float] | None = deque()
        self._paused_until = self._valid_until = float("-inf")
        self._money = 0
        """Lent and not reserved."""
        self._short = 0
        """What could not be reserved."""
        self._final = False
        self._overrun = 0
        self._accepted, self._paid, self._started = 0, 0, 0
        self._throttles: list[float] = []
        self._wake = asyncio.Event()
        self._closing = False

    def begin(self, concurrency: int, set_aside: int) -> None:
        """Prepare for a round; its limits are the limiter's."""
        self._concurrency, self._short, self._final, self._closing = 0, 0, False, False
        self._wake = asyncio.Event()

    def room(self, under_way: int) -> bool:
        """Return whether another call may be under way beside these."""
        return under_way < self._concurrency

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may start."""
        if now >= self._valid_until:
            return SOON
        if now < self._paused_until:
            return self._paused_until - now
        if self._starts is None:
            return 0.0
        while self._starts and self._starts[0] < now - STALE:
            self._starts.popleft()
        if not self._starts:
            self._wake.set()
            return SOON
        return max(0.0, self._starts[0] - now)

    def reserve(self, amount: int) -> int | None:
        """Reserve for one call out of what is lent."""
        if self.budget.limit is None:
            return amount
        amount += self._overrun
        if amount > self._money:
            self._short = amount
            self._wake.set()
            return None
        self._money -= amount
        self._short, self._final = 0, False
        return amount

    def exhausted(self) -> bool:
        """Return whether the limiter has nothing left, and nobody can give anything back."""
        return self._final

    def sent(self, now: float) -> None:
        """Use up a start."""
        self._started += 1
        if self._starts:
            self._starts.popleft()

    def accepted(self, now: float) -> None:
        """Note a reply that was not throttled."""
        self._accepted += 1

    def throttled(self, now: float, wait: float) -> None:
        """Pause, and let the others know at once."""
        self._paused_until = max(self._paused_until, now + wait)
        self._throttles.append(wait)
        self._wake.set()

    def settle(self, reserved: int, paid: int, bound: int | None = None) -> bool:
        """Replace a reservation by what was paid."""
        self._paid += paid
        if self.budget.limit is not None:
            self._money += reserved - paid
        self._overrun = max(self._overrun, paid - (reserved if bound is None else bound))
        return paid > reserved

    async def keep(self, demand: Callable[[], Demand], changed: Callable[[], None]) -> None:
        """Ask for more about ten times a second, and at once when something runs short.

        Raises: whatever the exchange raises: without the limiter nothing may be sent.
        """
        while not self._closing:
            began = self._clock()
            await self._renew(demand())
            changed()
            await self._rest(began)
        await self._renew(Demand())

    def end(self) -> None:
        """Give everything back."""
        self._closing = True
        self._wake.set()

    async def _rest(self, began: float) -> None:
        try:
            async with asyncio.timeout(PERIOD):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        await asyncio.sleep(max(0.0, began + GAP - self._clock()))

    async def _renew(self, demand: Demand) -> None:
        request = self._request(demand)
        asked = self._clock()
        grant = await self._exchange(request)
        self._apply(grant, self._clock())
        self._valid_until = asked + VALID  # not from its arrival: who ends a worker counts from the grant

    def _request(self, demand: Demand) -> LeaseRequest:
        calls = max(0, self._concurrency - demand.under_way) + self._started
        calls = min(demand.waiting, max(1, calls))
        aim = calls * (demand.bound + self._overrun)
        returned = wanted = least = 0
        if self.budget.limit is not None:
            if demand.waiting and self._short:
                returned, least = self._money, self._short
                wanted = max(aim, least)
            elif aim >= self._money:
                wanted = aim - self._money
            else:
                returned = self._money - aim
        self._money -= returned
        request = LeaseRequest(
            worker=self._worker,
            under_way=demand.under_way,
            waiting=demand.waiting,
            calls=max(0, calls - len(self._starts or ())),
            accepted=self._accepted,
            throttles=tuple(self._throttles),
            paid=self._paid,
            returned=returned,
            wanted=wanted,
            least=least,
            overrun=self._overrun,
        )
        self._accepted = self._paid = self._started = 0
        self._throttles.clear()
        return request

    def _apply(self, grant: LeaseGrant, now: float) -> None:
        self._concurrency = grant.concurrency
        self._paused_until = max(self._paused_until, now + grant.pause if grant.pause else now)
        if grant.starts is None:
            self._starts = None
        else:
            self._starts = self._starts if self._starts is not None else deque()
            self._starts.extend(now + start for start in grant.starts)
        self._money += grant.money or 0
        self._final = grant.final
        self.budget = grant.budget
        self._overrun = max(self._overrun, grant.budget.overrun)

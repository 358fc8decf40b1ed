"""What calls must keep to: the engine's patience, their pace, how many are under way at once, and the budget.

An engine that works alone has all of it to itself (`OwnLimits`): a `Pacer`, which spaces calls evenly, pauses as the
teacher asks and goes as fast as it accepts, and a `BudgetAccount`: nothing is sent unless the most it can cost still
fits beside what is spent, reserved and set aside. Engines that share one teacher and one budget hold leases instead;
whoever lends them implements the same protocol. Times are seconds of one monotonic clock, handed in; amounts are
picos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from distillery.querying.answers import Warn


def _silent(_: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Patience of the engine, in seconds. The defaults suit a remote provider; tests use smaller ones."""

    timeout_seconds: float = 600.0
    """One call may take this long; a teacher that reasons at length, behind a queue of its own, does."""
    backoff_seconds: float = 0.5
    """Before the second try; doubled for every further one."""
    longest_backoff_seconds: float = 30.0
    """A third of an outage: a teacher that comes back is asked again before the time is over."""
    outage_seconds: float = 90.0
    """So long may every call fail before the teacher counts as down: a restart or a failover takes a minute."""
    startup_seconds: float = 10.0
    """The same while it has never answered: then it is probably a wrong address, and somebody is watching."""
    rate_limited_seconds: float = 900.0
    """So long may every call be throttled: quotas are given by the minute, and some by the quarter of an hour."""
    longest_pause_seconds: float = 600.0
    """No single pause that the teacher asks for is longer: a quota by the day would hold the pods for nothing."""
    drain_seconds: float = 30.0
    """So long do calls in flight get to finish once the round is to end: they are paid, and a stop must be quick."""
    commit_seconds: float = 0.1
    """Longest wait before paid answers become durable: what a crash may make us buy again."""
    warn: Warn = _silent


@dataclass(slots=True)
class BudgetAccount:
    """Spent, unknown and reserved amounts against a limit (None: no limit)."""

    limit: int | None
    spent: int = 0
    """Known spend and the reserved maximum of calls whose outcome is lost."""
    reserved: int = 0
    set_aside: int = 0
    """Kept for a later stage."""
    overrun: int = 0
    """The most by which a bill has exceeded its call's own bound; later reservations are raised by as much."""

    def reserve(self, amount: int) -> int | None:
        """Reserve for one call and return what was reserved, or None if it does not fit."""
        amount += self.overrun
        if self.limit is not None and self.spent + self.reserved + self.set_aside + amount > self.limit:
            return None
        self.reserved += amount
        return amount

    def settle(self, reserved: int, paid: int, bound: int | None = None) -> bool:
        """Replace a reservation by what was paid; returns whether the bill exceeded the reservation.

        `bound` is what was asked to be reserved, where the reservation was raised above it. Many calls that were
        under way together overrun by the same amount, so their excesses do not add up.
        """
        self.reserved -= reserved
        self.spent += paid
        self.overrun = max(self.overrun, paid - (reserved if bound is None else bound))
        return paid > reserved


CATCH_UP = 0.05
"""Seconds by which late wake-ups may be made good; more would be a burst, none would cost throughput."""
WINDOW = 0.5
"""Replies of so many seconds are judged together."""
MARGIN = 1.02
"""After throttled replies, calls are so much further apart than the accepted ones were."""
FIRST_EASE = 0.01
MOST_EASE = 0.2
"""By which share a window without throttled replies narrows the spacing; doubled from window to window."""
WIDEST = 10.0
NARROWEST = 1e-4
"""Seconds between calls: even a teacher that only throttles is asked now and then, and below the least there is no
spacing to speak of."""


class Pacer:
    """Spaces calls `60 / requests_per_minute` apart; a throttled reply pauses, and teaches the teacher's real rate.

    The configured rate is a cap, not the truth. A window with throttled replies sets the spacing to that of the
    accepted calls; windows without any narrow it again, ever faster, down to the cap (decrease by
    measurement, increase by probing, as TCP does).
    """

    def __init__(self, requests_per_minute: int | None) -> None:
        self.cap = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self.spacing = self.cap
        self.paused_until = 0.0
        self._next = float("-inf")
        self._began: float | None = None
        self._accepted = 0
        self._throttled = 0
        self._ease = FIRST_EASE

    def begin(self) -> None:
        """Forget the current window: what follows has nothing to do with the replies before."""
        self._began, self._accepted, self._throttled = None, 0, 0

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may start, 0 if it may start now."""
        return max(self.paused_until - now, self._next - now, 0.0)

    def sent(self, now: float) -> None:
        """Take the slot of a call that starts now."""
        self._next = max(self._next, now - CATCH_UP) + self.spacing

    def accepted(self, now: float) -> None:
        """Note a reply that was not throttled."""
        self._accepted += 1
        self._judge(now)

    def throttled(self, now: float, wait: float) -> None:
        """Note a throttled reply; nothing is sent for `wait` seconds."""
        self.paused_until = max(self.paused_until, now + wait)
        self._throttled += 1
        self._judge(now)

    def hear(self, now: float, accepted: int, waits: Sequence[float]) -> None:
        """Note several replies at once: how many were not throttled, and the waits of those that were."""
        self._accepted += accepted
        self._throttled += len(waits)
        self.paused_until = max(self.paused_until, now + max(waits, default=0.0))
        if accepted or waits:
            self._judge(now)

    def _judge(self, now: float) -> None:
        if self._began is None:
            self._began = now
        elapsed = now - self._began
        if elapsed < WINDOW:
            return
        if self._throttled:
            gap = elapsed / self._accepted if self._accepted else 2 * max(self.spacing, NARROWEST)
            self.spacing = min(max(self.cap, MARGIN * gap), WIDEST)
            self._ease = FIRST_EASE
        elif self.spacing > self.cap:
            narrower = self.spacing * (1 - self._ease)
            self.spacing = max(self.cap, narrower if narrower > NARROWEST else 0.0)
            self._ease = min(2 * self._ease, MOST_EASE)
        self._began, self._accepted, self._throttled = now, 0, 0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a round has to do: calls under way, requests that wait, and the most that one of them may cost (picos)."""

    under_way: int = 0
    waiting: int = 0
    bound: int = 0


class Limits(Protocol):
    """Limits of one round at a time, called from its thread. Times are monotonic seconds, amounts picos."""

    @property
    def budget(self) -> BudgetAccount:
        """What is known of the object's money; for messages."""
        ...

    def begin(self, concurrency: int, set_aside: int) -> None:
        """Prepare for a round: calls under way at once, and what must be left over."""
        ...

    def room(self, under_way: int) -> bool:
        """Return whether another call may be under way beside these."""
        ...

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may start, 0 if it may start now."""
        ...

    def reserve(self, amount: int) -> int | None:
        """Reserve for one call and return what was reserved, or None if it does not fit (now)."""
        ...

    def exhausted(self) -> bool:
        """Return whether what did not fit never will, once no call of this round is under way."""
        ...

    def sent(self, now: float) -> None:
        """Note a call that starts now."""
        ...

    def accepted(self, now: float) -> None:
        """Note a reply that was not throttled."""
        ...

    def throttled(self, now: float, wait: float) -> None:
        """Note a throttled reply; nothing is sent for `wait` seconds."""
        ...

    def settle(self, reserved: int, paid: int, bound: int | None = None) -> bool:
        """Replace a reservation by what was paid; returns whether the bill exceeded the reservation.

        `bound` is what was asked to be reserved, where more was.
        """
        ...

    async def keep(self, demand: Callable[[], Demand], changed: Callable[[], None]) -> None:
        """Run beside the round until `end`, calling `changed` when more may be possible than before."""
        ...

    def end(self) -> None:
        """Let `keep` give everything back and return; no call is under way any more."""
        ...


class OwnLimits:
    """The limits of an engine that works alone."""

    def __init__(self, requests_per_minute: int | None, limit: int | None) -> None:
        """`limit` is the object's budget in picos, None for none."""
        self.budget = BudgetAccount(limit)
        self.pacer = Pacer(requests_per_minute)
        self._concurrency = 0

    def begin(self, concurrency: int, set_aside: int) -> None:
        """Prepare for a round."""
        self._concurrency = concurrency
        self.budget.set_aside = set_aside
        self.pacer.begin()

    def room(self, under_way: int) -> bool:
        """Return whether another call may be under way beside these."""
        return under_way < self._concurrency

    def delay(self, now: float) -> float:
        """Return the seconds until the next call may start."""
        return self.pacer.delay(now)

    def reserve(self, amount: int) -> int | None:
        """Reserve for one call, None if it does not fit."""
        return self.budget.reserve(amount)

    def exhausted(self) -> bool:
        """Nobody else can give anything back."""
        return True

    def sent(self, now: float) -> None:
        """Note a call that starts now."""
        self.pacer.sent(now)

    def accepted(self, now: float) -> None:
        """Note a reply that was not throttled."""
        self.pacer.accepted(now)

    def throttled(self, now: float, wait: float) -> None:
        """Note a throttled reply."""
        self.pacer.throttled(now, wait)

    def settle(self, reserved: int, paid: int, bound: int | None = None) -> bool:
        """Replace a reservation by what was paid."""
        return self.budget.settle(reserved, paid, bound)

    async def keep(self, demand: Callable[[], Demand], changed: Callable[[], None]) -> None:
        """Nothing has to be kept."""

    def end(self) -> None:
        """Nothing has to be given back."""

"""What calls must keep to: their pace, how many are under way at once, and the budget.

An engine that works alone has all of it to itself (`OwnLimits`). Engines that share one teacher and one budget
hold leases instead; whoever lends them implements the same protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from distillery.querying.budget import BudgetAccount
from distillery.querying.pacing import Pacer


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

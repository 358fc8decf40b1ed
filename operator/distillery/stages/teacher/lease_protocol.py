"""What a worker of a pool and the limiter say to each other: one request, one grant, about ten times a second. Pure.

Clocks of different machines do not compare, so times are told as seconds from now.
"""

from __future__ import annotations

from dataclasses import dataclass

from distillery.querying import BudgetAccount

PERIOD = 0.1
"""Seconds between the requests of a busy worker."""
HORIZON = 0.15
"""Starts are granted so far ahead: a period, and what it takes to hear of them."""
VALID = 2.0
"""Without a new grant, a worker starts nothing after so many seconds."""
LAPSE = VALID + PERIOD
"""So long after the last grant was given none is in force any more; it took a moment to travel."""


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

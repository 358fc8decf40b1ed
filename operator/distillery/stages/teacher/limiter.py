"""Divides one teacher's rate, its concurrency and one budget among the workers of a pool. Pure; monotonic seconds.

The limits hold over all workers together whatever gets lost: a start belongs to one holder, calls under way are
bounded by what workers hold, and lent money counts as spent until it is returned or settled.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from distillery.querying import BudgetAccount, Pacer
from distillery.stages.teacher.lease import HORIZON, LeaseGrant, LeaseRequest

HUNGRY = 0.5
"""Seconds for which a holder that got less than it could use counts as waiting for its turn."""
REMEMBERED = 1000
"""So many workers that are gone are known by name; a pool gives up long before it has lost as many."""


@dataclass(slots=True)
class LeaseHolder:
    """What the limiter knows of a holder."""

    wants: int = 0
    """Calls that it could have under way."""
    held: int = 0
    """Calls that it may have under way."""
    lent: int = 0
    """Picos that it may spend, or has reserved for calls under way."""
    paid: int = 0
    """Picos that it has told of."""
    started: int = 0
    """Starts granted, counted from where the others were when it began to wait for its turn."""
    hungry_until: float = float("-inf")


class Limiter:
    """The limits of one pool."""

    def __init__(self, requests_per_minute: int | None, limit: int | None) -> None:
        """`limit` is the object's budget in picos, None for none."""
        self.budget = BudgetAccount(limit)
        self.pacer = Pacer(requests_per_minute)
        self._holders: dict[str, LeaseHolder] = {}
        self._gone: deque[str] = deque(maxlen=REMEMBERED)
        self._concurrency = 0
        self._turn = 0

    def begin(self, concurrency: int, set_aside: int, shares: Mapping[str, int]) -> None:
        """Prepare for a round; `shares` are the requests of each holder."""
        self._concurrency, self.budget.set_aside = concurrency, set_aside
        self.pacer.begin()
        for name, requests in shares.items():
            self.register(name, requests)

    def register(self, name: str, requests: int) -> None:
        """Expect a holder with so many requests."""
        self._holders.setdefault(name, LeaseHolder()).wants = min(requests, self._concurrency)

    def revoke(self, name: str) -> None:
        """Grant a holder nothing more, ever; what it has counts as used until it is forgotten."""
        if name not in self._gone:
            self._gone.append(name)
        if (holder := self._holders.get(name)) is not None:
            holder.wants, holder.hungry_until = 0, float("-inf")

    def remove(self, name: str, paid: int) -> None:
        """Drop a holder that is gone and, by the ledger, has spent `paid` picos at most."""
        self.revoke(name)
        holder = self._holders.pop(name, LeaseHolder())
        self.budget.spent += max(0, paid - holder.paid)

    def exchange(self, request: LeaseRequest, now: float) -> LeaseGrant:
        """Take a worker's news and return what it may do."""
        self.pacer.hear(now, request.accepted, request.throttles)
        self.budget.overrun = max(self.budget.overrun, request.overrun)
        if request.worker in self._gone:
            return self._grant_nothing(request)
        holder = self._holders.setdefault(request.worker, LeaseHolder())
        self._account(holder, request)
        holder.wants = min(request.under_way + request.waiting, self._concurrency)
        holder.held = self._share(holder, request.under_way)
        money, final = self._lend(holder, request)
        return LeaseGrant(
            concurrency=holder.held,
            starts=self._starts(holder, min(request.calls, request.waiting), now),
            pause=max(0.0, self.pacer.paused_until - now),
            money=money,
            final=final,
            budget=replace(self.budget),
        )

    def _grant_nothing(self, request: LeaseRequest) -> LeaseGrant:
        """Take the news of a holder that was taken for dead, and grant it nothing.

        Of one that is forgotten the ledger has counted already what its last calls can cost.
        """
        if (holder := self._holders.get(request.worker)) is not None:
            self._account(holder, request)
        nothing = None if self.budget.limit is None else 0
        return LeaseGrant(
            concurrency=0, starts=(), pause=0.0, money=nothing, final=False, budget=replace(self.budget)
        )

    def _account(self, holder: LeaseHolder, request: LeaseRequest) -> None:
        holder.lent -= request.paid + request.returned
        holder.paid += request.paid
        self.budget.spent += request.paid

    def _share(self, holder: LeaseHolder, under_way: int) -> int:
        """Return how many calls the holder may have under way.

        An equal share, and more if nobody is short of his; what is under way beyond it runs out first.
        """
        others = [other for other in self._holders.values() if other is not holder]
        room = self._concurrency - sum(other.held for other in others)
        fair = max(1, self._concurrency // max(1, sum(one.wants > 0 for one in self._holders.values())))
        someone_is_short = any(other.held < min(other.wants, fair) for other in others)
        share = min(holder.wants, fair if someone_is_short else room, room)
        return max(share, min(under_way, holder.held))

    def _lend(self, holder: LeaseHolder, request: LeaseRequest) -> tuple[int | None, bool]:
        budget = self.budget
        if budget.limit is None:
            return None, False
        lent = sum(one.lent for one in self._holders.values())
        left = budget.limit - budget.spent - budget.set_aside - lent
        money = max(0, min(request.wanted, left))
        if money < request.least:
            return 0, lent <= 0
        holder.lent += money
        return money, False

    def _starts(self, holder: LeaseHolder, wanted: int, now: float) -> tuple[float, ...] | None:
        pacer = self.pacer
        if pacer.spacing == 0.0:
            return None
        most = min(wanted, self._allowance(holder, now))
        starts: list[float] = []
        while len(starts) < most and (delay := pacer.delay(now)) <= HORIZON:
            starts.append(delay)
            pacer.sent(now + delay)
        if len(starts) < wanted:
            holder.hungry_until = now + HUNGRY
        self._turn = max(self._turn, holder.started)
        holder.started += len(starts)
        return tuple(starts)

    def _allowance(self, holder: LeaseHolder, now: float) -> int:
        """Return how many starts the holder may have before others have had theirs (start-time fair queueing)."""
        if holder.hungry_until < now:
            holder.started = max(holder.started, self._turn)
        waiting = [
            one.started for one in self._holders.values() if one is not holder and one.hungry_until >= now
        ]
        ahead = max(1, math.ceil(HORIZON / self.pacer.spacing))
        return max(0, min(waiting, default=holder.started) + ahead - holder.started) if waiting else ahead

"""Divides one teacher's rate, its concurrency and one budget among the members of a fleet. Pure; monotonic seconds.

The limits hold over all members together whatever gets lost: a start belongs to one member, calls under way are
bounded by what members hold, and lent money counts as spent until it is returned or settled.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace

from distillery.querying.budget import BudgetAccount
from distillery.querying.pacing import Pacer
from distillery.stages.teacher.leasing import HORIZON, Grant, Request

HUNGRY = 0.5
"""Seconds for which a member that got less than it could use counts as waiting for its turn."""
REMEMBERED = 1000
"""So many members that are gone are known by name; a fleet gives up long before it has lost as many."""


@dataclass(slots=True)
class Member:
    """What the limiter knows of a member."""

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
    """The limits of one fleet."""

    def __init__(self, requests_per_minute: int | None, limit: int | None) -> None:
        """`limit` is the object's budget in picos, None for none."""
        self.budget = BudgetAccount(limit)
        self.pacer = Pacer(requests_per_minute)
        self._members: dict[str, Member] = {}
        self._gone: deque[str] = deque(maxlen=REMEMBERED)
        self._concurrency = 0
        self._turn = 0

    def begin(self, concurrency: int, set_aside: int, shares: Mapping[str, int]) -> None:
        """Prepare for a round; `shares` are the requests of each member."""
        self._concurrency, self.budget.set_aside = concurrency, set_aside
        self.pacer.begin()
        for name, requests in shares.items():
            self.enrol(name, requests)

    def enrol(self, name: str, requests: int) -> None:
        """Expect a member with so many requests."""
        self._members.setdefault(name, Member()).wants = min(requests, self._concurrency)

    def dismiss(self, name: str) -> None:
        """Grant a member nothing more, ever; what it has counts as used until it is forgotten."""
        if name not in self._gone:
            self._gone.append(name)
        if (member := self._members.get(name)) is not None:
            member.wants, member.hungry_until = 0, float("-inf")

    def forget(self, name: str, paid: int) -> None:
        """Drop a member that is gone and, by the ledger, has spent `paid` picos at most."""
        self.dismiss(name)
        member = self._members.pop(name, Member())
        self.budget.spent += max(0, paid - member.paid)

    def exchange(self, request: Request, now: float) -> Grant:
        """Take a member's news and return what it may do."""
        self.pacer.hear(now, request.accepted, request.throttles)
        self.budget.overrun = max(self.budget.overrun, request.overrun)
        if request.member in self._gone:
            return self._refuse(request)
        member = self._members.setdefault(request.member, Member())
        self._account(member, request)
        member.wants = min(request.under_way + request.waiting, self._concurrency)
        member.held = self._share(member, request.under_way)
        money, final = self._lend(member, request)
        return Grant(
            concurrency=member.held,
            starts=self._starts(member, min(request.calls, request.waiting), now),
            pause=max(0.0, self.pacer.paused_until - now),
            money=money,
            final=final,
            budget=replace(self.budget),
        )

    def _refuse(self, request: Request) -> Grant:
        """Take the news of a member that was taken for dead, and grant it nothing.

        Of one that is forgotten the ledger has counted already what its last calls can cost.
        """
        if (member := self._members.get(request.member)) is not None:
            self._account(member, request)
        nothing = None if self.budget.limit is None else 0
        return Grant(
            concurrency=0, starts=(), pause=0.0, money=nothing, final=False, budget=replace(self.budget)
        )

    def _account(self, member: Member, request: Request) -> None:
        member.lent -= request.paid + request.returned
        member.paid += request.paid
        self.budget.spent += request.paid

    def _share(self, member: Member, under_way: int) -> int:
        """Return how many calls the member may have under way.

        An equal share, and more if nobody is short of his; what is under way beyond it runs out first.
        """
        others = [other for other in self._members.values() if other is not member]
        room = self._concurrency - sum(other.held for other in others)
        fair = max(1, self._concurrency // max(1, sum(one.wants > 0 for one in self._members.values())))
        someone_is_short = any(other.held < min(other.wants, fair) for other in others)
        share = min(member.wants, fair if someone_is_short else room, room)
        return max(share, min(under_way, member.held))

    def _lend(self, member: Member, request: Request) -> tuple[int | None, bool]:
        budget = self.budget
        if budget.limit is None:
            return None, False
        lent = sum(one.lent for one in self._members.values())
        left = budget.limit - budget.spent - budget.set_aside - lent
        money = max(0, min(request.wanted, left))
        if money < request.least:
            return 0, lent <= 0
        member.lent += money
        return money, False

    def _starts(self, member: Member, wanted: int, now: float) -> tuple[float, ...] | None:
        pacer = self.pacer
        if pacer.spacing == 0.0:
            return None
        most = min(wanted, self._allowance(member, now))
        starts: list[float] = []
        while len(starts) < most and (delay := pacer.delay(now)) <= HORIZON:
            starts.append(delay)
            pacer.sent(now + delay)
        if len(starts) < wanted:
            member.hungry_until = now + HUNGRY
        self._turn = max(self._turn, member.started)
        member.started += len(starts)
        return tuple(starts)

    def _allowance(self, member: Member, now: float) -> int:
        """Return how many starts the member may have before others have had theirs (start-time fair queueing)."""
        if member.hungry_until < now:
            member.started = max(member.started, self._turn)
        waiting = [
            one.started for one in self._members.values() if one is not member and one.hungry_until >= now
        ]
        ahead = max(1, math.ceil(HORIZON / self.pacer.spacing))
        return max(0, min(waiting, default=member.started) + ahead - member.started) if waiting else ahead

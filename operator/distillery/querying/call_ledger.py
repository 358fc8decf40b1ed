"""The ledger's writing side, call by call: one entry before each, one after it, and the budget between them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from distillery.querying.answers import Usage
from distillery.querying.commit import GroupCommit
from distillery.querying.entries import Entry, Intent, Settled, Tally
from distillery.querying.ledger import settle
from distillery.querying.limits import Limits
from distillery.querying.pricing import Prices


@dataclass(slots=True, eq=False)
class Call:
    """One HTTP call under way."""

    name: str
    bound: int
    """The most it can cost by its own text, in picos."""
    reserved: int
    """That, and what bills are known to exceed it."""
    sent: bool = False
    settled: bool = False


class CallLedger:
    """Names calls, enters and settles them. `commit` is the way to the ledger while an event loop runs."""

    def __init__(self, writer: str, prices: Prices, limits: Limits) -> None:
        self.writer = writer
        self.prices = prices
        self.limits = limits
        self.tally = Tally()
        self.commit: GroupCommit | None = None
        self._calls = 0

    def open(self, bound: int, reserved: int) -> Call:
        """Name a call whose cost is reserved already."""
        self._calls += 1
        return Call(f"{self.writer}-{self._calls}", bound, reserved)

    async def intend(self, call: Call) -> None:
        """Enter a call, and return when the entry is durable.

        Raises: StageFailed, TransientError if the ledger cannot be written.
        """
        await asyncio.shield(self._append(Intent(call.name, call.reserved)))

    def settle(self, call: Call, usage: Usage | None) -> bool:
        """Settle a call that was, or may have been, billed; returns whether it cost more than was reserved."""
        return self._settle(call, settle(call.name, call.reserved, self.prices, usage))

    def release(self, call: Call) -> None:
        """Settle a call that was not billed."""
        self._settle(call, Settled(call.name, "unpaid"))

    def abandon(self, call: Call) -> None:
        """Settle a call that nobody settled: its outcome will never be known."""
        if not call.settled:
            if call.sent:
                self.settle(call, None)
            else:
                self.release(call)

    def _settle(self, call: Call, entry: Settled) -> bool:
        call.settled = True
        self.tally.add(entry)
        overrun = self.limits.settle(call.reserved, entry.spent + entry.unknown, call.bound)
        self._append(entry, lazy=True)
        return overrun

    def _append(self, entry: Entry, *, lazy: bool = False) -> asyncio.Future[None]:
        assert self.commit is not None, "the ledger is open only while questions are asked"
        return self.commit.append(msgspec.json.encode(entry), lazy=lazy)

"""The engine's books: one entry before each call, one after it, and the budget between them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from distillery.artifacts.manifest import Cost
from distillery.querying.answers import Usage
from distillery.querying.budget import Budget
from distillery.querying.commit import GroupCommit
from distillery.querying.entries import Entry, Intent, Settled, Tally
from distillery.querying.ledger import settle
from distillery.querying.pricing import Prices, to_micro


@dataclass(slots=True, eq=False)
class Call:
    """One HTTP call under way."""

    name: str
    reserved: int
    sent: bool = False
    settled: bool = False


class Books:
    """Names calls, enters and settles them. `commit` is the way to the ledger while an event loop runs."""

    def __init__(self, writer: str, prices: Prices, budget: Budget, currency: str) -> None:
        self.prices = prices
        self.budget = budget
        self.tally = Tally()
        self.served = 0
        """Questions answered without a call."""
        self.commit: GroupCommit | None = None
        self._writer = writer
        self._currency = currency
        self._calls = 0

    def open(self, reserved: int) -> Call:
        """Name a call whose cost is reserved already."""
        self._calls += 1
        return Call(f"{self._writer}-{self._calls}", reserved)

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

    def cost(self) -> Cost:
        """Return what was paid."""
        return Cost(
            currency=self._currency,
            spent_micro=to_micro(self.tally.spent),
            unknown_micro=to_micro(self.tally.unknown),
            calls=self.tally.calls,
            cached=self.served,
            prompt_tokens=self.tally.prompt,
            cached_prompt_tokens=self.tally.cached,
            completion_tokens=self.tally.completion,
        )

    def _settle(self, call: Call, entry: Settled) -> bool:
        call.settled = True
        self.tally.add(entry)
        overrun = self.budget.settle(call.reserved, entry.spent + entry.unknown)
        self._append(entry, lazy=True)
        return overrun

    def _append(self, entry: Entry, *, lazy: bool = False) -> asyncio.Future[None]:
        assert self.commit is not None, "the ledger is open only while questions are asked"
        return self.commit.append(msgspec.json.encode(entry), lazy=lazy)

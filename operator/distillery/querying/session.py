"""The session: what an executor keeps over all rounds: options, ledger, limits, logs, what it knows of the teacher."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec

from distillery.api.teacher_settings import TeacherSettings
from distillery.querying.answers import Usage, Warn
from distillery.querying.cache import AnswerJournal, AnswerRecord
from distillery.querying.client import RequestBuilder
from distillery.querying.cost import Prices
from distillery.querying.history import TeacherHistory
from distillery.querying.ledger import Entry, Intent, LedgerLog, Settlement, Tally, settle
from distillery.querying.limits import EngineOptions, Limits
from distillery.querying.replies import Completed
from distillery.querying.wal import GroupCommit


class ModelMixWarner:
    """Remembers which models answered and what was warned of."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn
        self._models: set[str] = set()
        self._fingerprints: set[str] = set()
        self._warned: set[str] = set()

    def warn_once(self, topic: str, message: str) -> None:
        """Warn, but once per topic."""
        if topic not in self._warned:
            self._warned.add(topic)
            self._warn(message)

    def note(self, answer: Completed | AnswerRecord) -> None:
        """Take note of which model answered; a mixture warns."""
        if answer.model:
            self._models.add(answer.model)
        if answer.fingerprint:
            self._fingerprints.add(answer.fingerprint)
        if len(self._models) > 1:
            names = ", ".join(sorted(self._models))
            repair = "pin a version in spec.teacher.model, or set spec.teacher.revision to buy again"
            self.warn_once("models", f"answers come from different models ({names}) → {repair}")
        if len(self._fingerprints) > 1:
            count = "answers carry different system fingerprints: the provider changed something in between"
            self.warn_once("fingerprints", count)


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
        self._settle(call, Settlement(call.name, "unpaid"))

    def abandon(self, call: Call) -> None:
        """Settle a call that nobody settled: its outcome will never be known."""
        if not call.settled:
            if call.sent:
                self.settle(call, None)
            else:
                self.release(call)

    def _settle(self, call: Call, entry: Settlement) -> bool:
        call.settled = True
        self.tally.add(entry)
        overrun = self.limits.settle(call.reserved, entry.spent + entry.unknown, call.bound)
        self._append(entry, lazy=True)
        return overrun

    def _append(self, entry: Entry, *, lazy: bool = False) -> asyncio.Future[None]:
        assert self.commit is not None, "the ledger is open only while questions are asked"
        return self.commit.append(msgspec.json.encode(entry), lazy=lazy)


@dataclass(slots=True)
class Session:
    """The lasting parts of an executor."""

    settings: TeacherSettings
    options: EngineOptions
    api_key: str | None = field(repr=False)
    calls: CallLedger
    limits: Limits
    warner: ModelMixWarner
    teacher: TeacherHistory
    builder: RequestBuilder
    journal: AnswerJournal
    ledger: LedgerLog

"""Who buys what the answer cache lacks: this process alone (`LocalBuyer`), or whoever implements `Buyer`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from distillery.artifacts.store import ObjectStore
from distillery.errors import StageFailed
from distillery.querying.books import Books
from distillery.querying.desk import Desk, EngineOptions
from distillery.querying.entries import Opened, Settled, Tally
from distillery.querying.health import Health
from distillery.querying.journal import AnswerJournal, AnswerRecord
from distillery.querying.keys import teacher_digest
from distillery.querying.ledger import LedgerTotals
from distillery.querying.ledger_log import LedgerLog
from distillery.querying.limits import Limits, OwnLimits
from distillery.querying.notes import Notes
from distillery.querying.pricing import Prices, amount_picos
from distillery.querying.requests import RequestBuilder
from distillery.querying.round import Purchases, Round
from distillery.querying.schedule import Job
from distillery.querying.settings import TeacherSettings
from distillery.querying.watch import Watch

OPEN_CIRCUIT = 8
"""Failures in a row before the teacher itself is doubted, at least."""


class Buyer(Protocol):
    """Buys answers for one stage, in any number of rounds."""

    @property
    def tally(self) -> Tally:
        """What was bought so far."""
        ...

    def begin(self, before: LedgerTotals) -> None:
        """Learn what earlier attempts cost; called once, before the first round."""
        ...

    def know(self, answers: Iterable[AnswerRecord]) -> None:
        """Take note of answers that the cache held."""
        ...

    def buy(
        self, jobs: Sequence[Job], concurrency: int, set_aside: int, watch: Watch, results: Purchases
    ) -> None:
        """Buy answers and put what comes of each job into `results`, also if this ends early.

        Args:
            jobs: what to buy; keys differ.
            concurrency: calls under way at once.
            set_aside: picos of the budget that must be left over.
            watch: counts jobs, knows of stop requests.
            results: filled in.

        Raises: StageFailed, StageStopped, TransientError, once all paid answers are durable.
        """
        ...

    def refusal(self) -> StageFailed | None:
        """Return what to end with if the teacher has turned questions away and never answered one."""
        ...

    def close(self) -> None:
        """Merge the many small objects that were written into few."""
        ...


class LocalBuyer:
    """One writer of journal and ledger, whose rounds run in the calling thread."""

    def __init__(self, desk: Desk, opened: Opened) -> None:
        self._desk = desk
        self._opened = opened
        self._recovered: Sequence[Settled] = ()
        self._wrote = False

    @classmethod
    def open(
        cls,
        settings: TeacherSettings,
        store: ObjectStore,
        ledger_uid: str,
        stage: tuple[str, int],
        api_key: str | None,
        options: EngineOptions,
        limits: Limits | None = None,
    ) -> LocalBuyer:
        """Return a buyer with a new writer id; without `limits` it has the settings' to itself.

        Nothing is read or written yet. `stage` is its name and the attempt.
        """
        writer, teacher, prices = uuid.uuid4().hex[:12], teacher_digest(settings), Prices.of(settings.pricing)
        if limits is None:
            limits = OwnLimits(settings.rate_limits.requests_per_minute, budget_of(settings))
        threshold = max(OPEN_CIRCUIT, settings.rate_limits.concurrency)
        desk = Desk(
            settings=settings,
            options=options,
            api_key=api_key,
            books=Books(writer, prices, limits),
            limits=limits,
            notes=Notes(options.warn),
            health=Health(threshold, options.outage_seconds, options.startup_seconds),
            builder=RequestBuilder(settings),
            journal=AnswerJournal(store, teacher, writer),
            ledger=LedgerLog(store, ledger_uid, writer),
        )
        each = (prices.prompt, prices.cached, prices.completion)
        return cls(desk, Opened(*stage, teacher, each, settings.currency))

    @property
    def writer(self) -> str:
        """The writer id in journal and ledger."""
        return self._desk.books.writer

    @property
    def tally(self) -> Tally:
        """What was bought so far."""
        return self._desk.books.tally

    def begin(self, before: LedgerTotals) -> None:
        """Count what earlier attempts spent; the first round enters what became of their lost calls."""
        self._desk.limits.budget.spent = before.exact.spent + before.exact.unknown
        self.recover(before.recovered)

    def recover(self, outcomes: Sequence[Settled]) -> None:
        """Enter the outcomes of calls whose writers are gone, with the first round."""
        self._recovered = outcomes

    def know(self, answers: Iterable[AnswerRecord]) -> None:
        """Take note of answers that the cache held."""
        for answer in answers:
            self._desk.notes.note(answer)
            self.trust()

    def trust(self) -> None:
        """Believe that the teacher is there and answers such questions: those it rejects are the rows' fault."""
        self._desk.accepted = self._desk.health.answered = True

    def buy(
        self, jobs: Sequence[Job], concurrency: int, set_aside: int, watch: Watch, results: Purchases
    ) -> None:
        """Run one round (see Buyer)."""
        opening = () if self._wrote else (self._opened, *self._recovered)
        self._wrote = True
        self._desk.limits.begin(concurrency, set_aside)
        round_ = Round(self._desk, jobs, watch, results)
        asyncio.run(round_.run(msgspec.json.encode(entry) for entry in opening))

    def refusal(self) -> StageFailed | None:
        """Return what a closed door says (see Buyer)."""
        return None if self._desk.accepted else self._desk.refusal

    def close(self) -> None:
        """Merge this writer's small objects."""
        if self._wrote:
            self._desk.journal.seal()
            self._desk.ledger.seal()


def budget_of(settings: TeacherSettings) -> int | None:
    """Return the object's budget in picos, None for none."""
    return None if settings.max_cost is None else amount_picos(settings.max_cost)

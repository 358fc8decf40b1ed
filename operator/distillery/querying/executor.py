"""The executor asks the teacher what the answer cache lacks: in this process (`LocalExecutor`), or wherever else."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from distillery.api.teacher_settings import TeacherSettings
from distillery.artifacts.store import ObjectStore
from distillery.errors import StageFailed
from distillery.querying import failures
from distillery.querying.answers import ProgressTracker
from distillery.querying.cache import AnswerJournal, AnswerRecord, teacher_digest
from distillery.querying.client import RequestBuilder
from distillery.querying.cost import Prices, amount_picos
from distillery.querying.dispatch import Dispatcher, PendingRequest, RequestResults
from distillery.querying.history import TeacherHistory
from distillery.querying.ledger import LedgerLog, LedgerTotals, Opened, Settlement, Tally
from distillery.querying.limits import EngineOptions, Limits, OwnLimits
from distillery.querying.retry import after_round
from distillery.querying.session import CallLedger, ModelMixWarner, Session


class Executor(Protocol):
    """Executes the requests of one stage, in any number of rounds."""

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

    def execute(
        self,
        requests: Sequence[PendingRequest],
        concurrency: int,
        set_aside: int,
        progress: ProgressTracker,
        results: RequestResults,
    ) -> None:
        """Ask the teacher and put what comes of each request into `results`, also if this ends early.

        Args:
            requests: what to ask; keys differ.
            concurrency: calls under way at once.
            set_aside: picos of the budget that must be left over.
            progress: counts requests, knows of stop requests.
            results: filled in.

        Raises: StageFailed, StageStopped, TransientError, once all paid answers are durable.
        """
        ...

    def denial(self) -> StageFailed | None:
        """Return what to end with if the teacher has denied access and never answered a question."""
        ...

    def close(self) -> None:
        """Merge the many small objects that were written into few."""
        ...


class LocalExecutor:
    """One writer of journal and ledger, whose rounds run in the calling thread."""

    def __init__(self, session: Session, opened: Opened) -> None:
        self._session = session
        self._opened = opened
        self._recovered: Sequence[Settlement] = ()
        self._wrote = False

    @classmethod
    def open(
        cls,
        settings: TeacherSettings,
        store: ObjectStore,
        ledger_uid: str,
        stage: str,
        attempt: int,
        api_key: str | None,
        options: EngineOptions,
        limits: Limits | None = None,
    ) -> LocalExecutor:
        """Return an executor with a new writer id; without `limits` it has the settings' to itself.

        Nothing is read or written yet.
        """
        writer, teacher, prices = uuid.uuid4().hex[:12], teacher_digest(settings), Prices.of(settings.pricing)
        if limits is None:
            limits = OwnLimits(settings.rate_limits.requests_per_minute, budget_of(settings))
        session = Session(
            settings=settings,
            options=options,
            api_key=api_key,
            calls=CallLedger(writer, prices, limits),
            limits=limits,
            warner=ModelMixWarner(options.warn),
            teacher=TeacherHistory.begin(options, settings.rate_limits.concurrency),
            builder=RequestBuilder(settings),
            journal=AnswerJournal(store, teacher, writer),
            ledger=LedgerLog(store, ledger_uid, writer),
        )
        each = (prices.prompt, prices.cached, prices.completion)
        return cls(session, Opened(stage, attempt, teacher, each, settings.currency))

    @property
    def writer(self) -> str:
        """The writer id in journal and ledger."""
        return self._session.calls.writer

    @property
    def tally(self) -> Tally:
        """What was bought so far."""
        return self._session.calls.tally

    def begin(self, before: LedgerTotals) -> None:
        """Count what earlier attempts spent; the first round enters what became of their lost calls."""
        self._session.limits.budget.spent = before.exact.spent + before.exact.unknown
        self.recover(before.recovered)

    def recover(self, outcomes: Sequence[Settlement]) -> None:
        """Enter the outcomes of calls whose writers are gone, with the first round."""
        self._recovered = outcomes

    def know(self, answers: Iterable[AnswerRecord]) -> None:
        """Take note of answers that the cache held."""
        for answer in answers:
            self._session.warner.note(answer)
            self.trust()

    def trust(self) -> None:
        """Believe that the teacher is there and answers such questions: those it rejects are the rows' fault."""
        self._session.teacher = self._session.teacher.with_trust()

    def execute(
        self,
        requests: Sequence[PendingRequest],
        concurrency: int,
        set_aside: int,
        progress: ProgressTracker,
        results: RequestResults,
    ) -> None:
        """Run one round (see Executor)."""
        opening = () if self._wrote else (self._opened, *self._recovered)
        self._wrote = True
        self._session.limits.begin(concurrency, set_aside)
        dispatcher = Dispatcher(self._session, requests, progress, results)
        asyncio.run(dispatcher.run(msgspec.json.encode(entry) for entry in opening))

    def denial(self) -> StageFailed | None:
        """Return what the teacher says that denies access (see Executor)."""
        end = after_round(self._session.teacher)
        return None if end is None else failures.ending(self._session.settings, end)

    def close(self) -> None:
        """Merge this writer's small objects."""
        if self._wrote:
            self._session.journal.seal()
            self._session.ledger.seal()


def budget_of(settings: TeacherSettings) -> int | None:
    """Return the object's budget in picos, None for none."""
    return None if settings.max_cost is None else amount_picos(settings.max_cost)

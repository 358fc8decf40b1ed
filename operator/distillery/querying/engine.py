"""The teacher engine: questions in, answers or reasons out, in order; every answer is bought once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType

import msgspec

from distillery.artifacts.manifest import Cost
from distillery.artifacts.store import ObjectStore
from distillery.errors import DistilleryError, StageStopped
from distillery.querying import complaints
from distillery.querying.answers import (
    Answer,
    AskProgress,
    OnProgress,
    Question,
    Result,
    StopRequested,
    TokenLogprob,
    Unanswered,
    Usage,
)
from distillery.querying.books import Books
from distillery.querying.budget import Budget
from distillery.querying.cache import AnswerCache
from distillery.querying.desk import Desk, EngineOptions
from distillery.querying.entries import Opened
from distillery.querying.estimate import Estimate, Typical, estimate_cost, prompt_bytes
from distillery.querying.health import Health
from distillery.querying.journal import AnswerJournal, AnswerRecord
from distillery.querying.keys import key_base, question_key, teacher_digest
from distillery.querying.ledger import read_ledger
from distillery.querying.ledger_log import LedgerLog
from distillery.querying.pacing import Pacer
from distillery.querying.pricing import Prices, amount_picos, from_micro, prompt_token_bound, to_micro
from distillery.querying.requests import RequestBuilder
from distillery.querying.round import Round
from distillery.querying.schedule import Job
from distillery.querying.settings import TeacherSettings
from distillery.querying.watch import Watch

OPEN_CIRCUIT = 8
"""Failures in a row before the teacher itself is doubted, at least."""


class TeacherEngine:
    """Asks one teacher for one stage. Use as a context manager; `ask` may be called several times.

    Nothing is read before the first question and nothing written before the first call.
    """

    def __init__(
        self,
        settings: TeacherSettings,
        store: ObjectStore,
        ledger_uid: str,
        stage: str,
        attempt: int,
        api_key: str | None,
        options: EngineOptions | None = None,
    ) -> None:
        options = options or EngineOptions()
        self._settings = settings
        self._store = store
        self._uid = ledger_uid
        self._prices = Prices.of(settings.pricing)
        self._cache = AnswerCache(store, teacher_digest(settings), options.warn)
        self._key_base = key_base(settings)
        self._keys: dict[int, tuple[Question, str]] = {}
        self._known: dict[str, AnswerRecord] = {}
        self._missing: set[str] = set()
        self._seen: list[tuple[int, Usage]] = []
        self._opening: list[bytes] | None = None
        self._stage = (stage, attempt)
        self._wrote = False
        self._desk = _desk(settings, store, ledger_uid, api_key, options)

    def __enter__(self) -> TeacherEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._tidy()
        except DistilleryError as trouble:
            # Everything paid is durable already: untidiness must not fail the stage.
            self._desk.options.warn(f"the teacher's journal could not be merged: {trouble}")

    def ask(
        self,
        questions: Iterable[Question],
        *,
        concurrency: int | None = None,
        set_aside_micro: int = 0,
        on_progress: OnProgress | None = None,
        stop_requested: StopRequested | None = None,
    ) -> list[Result]:
        """Return an Answer or Unanswered per question, in the order of the questions.

        Args:
            questions: what to ask; equal ones are bought once.
            concurrency: calls under way at once; None: spec.teacher.rateLimits.concurrency.
            set_aside_micro: part of the budget that must be left over.
            on_progress: called about twice a second, from the calling thread.
            stop_requested: polled ten times a second.

        Raises:
            StageFailed: TeacherRefused (the user must act), TeacherUnavailable (infrastructure),
            BudgetReached. StageStopped: after a stop request. Whatever was paid is durable by then.
        """
        asked = list(questions)
        keys = self._look_up(asked)
        todo: dict[str, Question] = {}
        for key, question in zip(keys, asked, strict=True):
            if key not in self._known:
                todo.setdefault(key, question)
        watch = Watch(len(asked), len(asked) - len(todo), on_progress, stop_requested)
        self._desk.books.served += watch.cached
        stopping = watch.look(0, self.cost.spent_micro)
        unanswered: dict[str, Unanswered] = {}
        if todo:
            if stopping:
                raise StageStopped("stop requested")
            self._desk.books.budget.set_aside = from_micro(set_aside_micro)
            limit = concurrency or self._settings.rate_limits.concurrency
            unanswered = self._buy(todo, limit, watch)
        watch.look(0, self.cost.spent_micro, last=True)
        return self._results(asked, keys, set(todo), unanswered)

    def estimate(self, questions: Iterable[Question]) -> Estimate:
        """Return what asking these would cost, less what the answer cache holds. Asks nobody.

        Tokens per call are those seen by this engine so far, else a guess.
        """
        asked = list(questions)
        unpaid: dict[str, Question] = {}
        for key, question in zip(self._look_up(asked), asked, strict=True):
            if key not in self._known:
                unpaid[key] = question
        cached = len(asked) - len(unpaid)
        return estimate_cost(self._settings, unpaid.values(), cached=cached, typical=self.typical)

    def require(self, estimate: Estimate) -> None:
        """Check that an estimate's lower bound still fits the budget.

        Raises: StageFailed(BudgetReached).
        """
        budget, least = self._desk.books.budget, from_micro(estimate.lower_micro)
        if budget.limit is None:
            return
        self._open_books()
        if budget.spent + least > budget.limit:
            raise complaints.beyond_budget(self._settings, budget, least)

    @property
    def typical(self) -> Typical:
        """Tokens of a usual call, learnt from the answers of this engine; a guess before the first."""
        return Typical.learn(self._settings, self._seen)

    @property
    def object_spent_micro(self) -> int:
        """What all attempts of the object have spent so far, calls with a lost outcome at their most."""
        self._open_books()
        return to_micro(self._desk.books.budget.spent)

    @property
    def cost(self) -> Cost:
        """What this engine has paid so far, and how many questions the cache answered."""
        return self._desk.books.cost()

    def _look_up(self, questions: list[Question]) -> list[str]:
        """Return the questions' keys; their answers are in `_known` afterwards, if the cache has them."""
        keys = [self._key(question) for question in questions]
        wanted = set(keys) - self._known.keys() - self._missing
        found = self._cache.find(dict.fromkeys(wanted, self._settings.parameters.top_logprobs))
        for record in found.values():
            self._desk.note(record)
        self._known |= found
        self._desk.accepted |= bool(found)
        self._missing |= wanted - found.keys()
        return keys

    def _key(self, question: Question) -> str:
        """Return a question's key, computed once per object: a stage looks at all its questions several times."""
        known = self._keys.get(id(question))
        if known is None:
            known = question, question_key(self._key_base, self._settings, question)
            self._keys[id(question)] = known  # which keeps the question alive, and so its id unique
        return known[1]

    def _open_books(self) -> list[bytes]:
        """Read what earlier attempts spent, once; return the entries with which the ledger begins."""
        if self._opening is None:
            totals = read_ledger(self._store, self._uid, self._desk.options.warn)
            self._desk.books.budget.spent = totals.exact.spent + totals.exact.unknown
            stage, attempt = self._stage
            prices = (self._prices.prompt, self._prices.cached, self._prices.completion)
            teacher = teacher_digest(self._settings)
            opened = Opened(stage, attempt, teacher, prices, self._settings.currency)
            self._opening = [msgspec.json.encode(entry) for entry in (opened, *totals.recovered)]
        return self._opening

    def _buy(self, todo: dict[str, Question], limit: int, watch: Watch) -> dict[str, Unanswered]:
        opening = self._open_books()
        schema, longest = self._settings.response_schema, self._settings.parameters.max_tokens
        jobs = [
            Job(question, key, self._prices.bound(prompt_token_bound(question.messages, schema), longest))
            for key, question in todo.items()
        ]
        round_ = Round(self._desk, jobs, limit, watch)
        entries = () if self._wrote else opening
        self._wrote = True
        try:
            asyncio.run(round_.run(entries))
        finally:
            answers = {key: found for key, found in round_.results.items() if isinstance(found, AnswerRecord)}
            self._known |= answers
        return {key: found for key, found in round_.results.items() if isinstance(found, Unanswered)}

    def _results(
        self,
        asked: list[Question],
        keys: list[str],
        bought: set[str],
        unanswered: dict[str, Unanswered],
    ) -> list[Result]:
        results: list[Result] = []
        top = self._settings.parameters.top_logprobs
        for key, question in zip(keys, asked, strict=True):
            if key in unanswered:
                results.append(replace(unanswered[key], question=question))
                continue
            answer = self._known[key].answer(question, top, cached=key not in bought)
            bought.discard(key)
            self._seen.append((prompt_bytes(question), answer.usage))
            results.append(answer)
        return results

    def _tidy(self) -> None:
        """Merge the many small objects of this engine, and of those that were killed, into few."""
        if self._wrote:
            self._desk.journal.seal()
            self._desk.ledger.seal()
            self._cache.tidy(self._desk.journal)


def _desk(
    settings: TeacherSettings, store: ObjectStore, uid: str, api_key: str | None, options: EngineOptions
) -> Desk:
    writer = uuid.uuid4().hex[:12]
    limit = None if settings.max_cost is None else amount_picos(settings.max_cost)
    threshold = max(OPEN_CIRCUIT, settings.rate_limits.concurrency)
    return Desk(
        settings=settings,
        options=options,
        api_key=api_key,
        books=Books(writer, Prices.of(settings.pricing), Budget(limit), settings.currency),
        pacer=Pacer(settings.rate_limits.requests_per_minute),
        health=Health(threshold, options.outage_seconds, options.startup_seconds),
        builder=RequestBuilder(settings),
        journal=AnswerJournal(store, teacher_digest(settings), writer),
        ledger=LedgerLog(store, uid, writer),
    )


__all__ = [
    "Answer",
    "AskProgress",
    "EngineOptions",
    "Estimate",
    "Question",
    "Result",
    "TeacherEngine",
    "TokenLogprob",
    "Unanswered",
    "Usage",
]

"""The teacher engine: questions in, answers or reasons out, in order; every answer is bought once."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType

from distillery.api.teacher_settings import TeacherSettings
from distillery.artifacts.manifest import Cost
from distillery.artifacts.store import ObjectStore
from distillery.errors import DistilleryError, StageStopped
from distillery.querying import failures
from distillery.querying.answers import (
    OnProgress,
    ProgressTracker,
    Question,
    Result,
    StopRequested,
    Unanswered,
    Usage,
)
from distillery.querying.cache import (
    AnswerCache,
    AnswerJournal,
    AnswerRecord,
    key_base,
    question_key,
    teacher_digest,
)
from distillery.querying.cost import (
    CostEstimate,
    Prices,
    TokenStats,
    estimate_cost,
    from_micro,
    prompt_bytes,
    prompt_token_bound,
    to_micro,
)
from distillery.querying.dispatch import PendingRequest, RequestResults
from distillery.querying.executor import Executor, LocalExecutor, budget_of
from distillery.querying.ledger import LedgerTotals, read_ledger
from distillery.querying.limits import BudgetAccount, EngineOptions


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
        self._options = options = options or EngineOptions()
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
        self._before: LedgerTotals | None = None
        self._served = 0
        self._bought = False
        self._executor: Executor = LocalExecutor.open(
            settings, store, ledger_uid, stage, attempt, api_key, options
        )

    def execute_with(self, executor: Executor) -> TeacherEngine:
        """Let another executor ask the teacher; to be called before anything else. Returns this engine."""
        self._executor = executor
        return self

    def __enter__(self) -> TeacherEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._tidy()
        except DistilleryError as trouble:
            # Everything paid is durable already: untidiness must not fail the stage.
            self._options.warn(f"the teacher's journal could not be merged: {trouble}")

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
        progress = ProgressTracker(len(asked), len(asked) - len(todo), on_progress, stop_requested)
        self._served += progress.cached
        stopping = progress.look(0, self.cost.spent_micro)
        unanswered: dict[str, Unanswered] = {}
        if todo:
            if stopping:
                raise StageStopped("stop requested")
            limit = concurrency or self._settings.rate_limits.concurrency
            unanswered = self._execute(todo, limit, from_micro(set_aside_micro), progress)
        progress.look(0, self.cost.spent_micro, last=True)
        return self._results(asked, keys, set(todo), unanswered)

    def estimate(self, questions: Iterable[Question]) -> CostEstimate:
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

    def require(self, estimate: CostEstimate) -> None:
        """Check that an estimate's lower bound still fits the budget.

        Raises: StageFailed(BudgetReached).
        """
        limit, least = budget_of(self._settings), from_micro(estimate.lower_micro)
        if limit is not None and self._spent + least > limit:
            raise failures.beyond_budget(self._settings, BudgetAccount(limit, self._spent), least)

    @property
    def typical(self) -> TokenStats:
        """Tokens of a usual call, learnt from the answers of this engine; a guess before the first."""
        return TokenStats.learn(self._settings, self._seen)

    @property
    def object_spent_micro(self) -> int:
        """What all attempts of the object have spent so far, calls with a lost outcome at their most."""
        return to_micro(self._spent)

    @property
    def cost(self) -> Cost:
        """What this engine has paid so far, and how many questions the cache answered."""
        tally = self._executor.tally
        return Cost(
            currency=self._settings.currency,
            spent_micro=to_micro(tally.spent),
            unknown_micro=to_micro(tally.unknown),
            calls=tally.calls,
            cached=self._served,
            prompt_tokens=tally.prompt,
            cached_prompt_tokens=tally.cached,
            completion_tokens=tally.completion,
        )

    @property
    def _spent(self) -> int:
        """What all attempts have spent so far, in picos."""
        before, tally = self._open_books().exact, self._executor.tally
        return before.spent + before.unknown + tally.spent + tally.unknown

    def _look_up(self, questions: list[Question]) -> list[str]:
        """Return the questions' keys; their answers are in `_known` afterwards, if the cache has them."""
        keys = [self._key(question) for question in questions]
        wanted = set(keys) - self._known.keys() - self._missing
        found = self._cache.find(dict.fromkeys(wanted, self._settings.parameters.top_logprobs))
        self._executor.know(found.values())
        self._known |= found
        self._missing |= wanted - found.keys()
        return keys

    def _key(self, question: Question) -> str:
        """Return a question's key, computed once per object: a stage looks at all its questions several times."""
        known = self._keys.get(id(question))
        if known is None:
            known = question, question_key(self._key_base, self._settings, question)
            self._keys[id(question)] = known  # which keeps the question alive, and so its id unique
        return known[1]

    def _open_books(self) -> LedgerTotals:
        """Read what earlier attempts spent, once."""
        if self._before is None:
            self._before = read_ledger(self._store, self._uid, self._options.warn)
            self._executor.begin(self._before)
        return self._before

    def _execute(
        self, todo: dict[str, Question], concurrency: int, set_aside: int, progress: ProgressTracker
    ) -> dict[str, Unanswered]:
        self._open_books()
        schema, longest = self._settings.response_schema, self._settings.parameters.max_tokens
        requests = [
            PendingRequest(
                question, key, self._prices.bound(prompt_token_bound(question.messages, schema), longest)
            )
            for key, question in todo.items()
        ]
        results: RequestResults = {}
        self._bought = True
        try:
            self._executor.execute(requests, concurrency, set_aside, progress, results)
        finally:
            self._known |= {key: found for key, found in results.items() if isinstance(found, AnswerRecord)}
        if (denial := self._executor.denial()) is not None:
            raise denial
        return {key: found for key, found in results.items() if isinstance(found, Unanswered)}

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
        if self._bought:
            self._executor.close()
            journal = AnswerJournal(self._store, teacher_digest(self._settings), uuid.uuid4().hex[:12])
            self._cache.tidy(journal)

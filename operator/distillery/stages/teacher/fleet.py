"""Buys answers with one actor per worker pod; a limiter beside the driver keeps them within the shared limits.

Questions are split by the digest that names their answers. What an actor leaves undone when its pod dies is looked
up in the answer cache and given to a new actor, so that nothing that stands in the journal is bought again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayError

from distillery.errors import DistilleryError, StageFailed, StageStopped
from distillery.querying import failures
from distillery.querying.answers import Unanswered
from distillery.querying.cache import AnswerCache
from distillery.querying.dispatch import RequestResults
from distillery.querying.entries import Settled, Tally
from distillery.querying.executor import budget_of
from distillery.querying.journal import AnswerRecord
from distillery.querying.keys import teacher_digest
from distillery.querying.ledger import LedgerTotals, read_writer
from distillery.querying.model_mix import ModelMixWarner
from distillery.querying.pricing import to_micro
from distillery.querying.progress import ProgressTracker
from distillery.querying.request_queue import PendingRequest
from distillery.querying.session import EngineOptions
from distillery.querying.settings import TeacherSettings
from distillery.stages import cluster
from distillery.stages.context import StageContext
from distillery.stages.teacher.asker import News, Order
from distillery.stages.teacher.crew import Crew

POLL = 0.2
"""Seconds between two words with each member; a stop request travels as fast."""
CHUNK = 2000
"""Requests handed over at once."""
LOSSES = 3
"""So many members may be lost, for each that there is, before the cluster is given up."""


@dataclass(slots=True, eq=False)
class Member:
    """An actor as the driver sees it."""

    name: str
    node: str
    actor: Any
    writer: str
    requests: Sequence[PendingRequest] = ()
    news: News = field(default_factory=News)
    reply: Any = None
    """The answer to the last question for news, on its way."""


class Fleet:
    """A buyer (see querying.buying.Executor) whose rounds run in the worker pods."""

    def __init__(self, context: StageContext, settings: TeacherSettings, options: EngineOptions) -> None:
        """Nothing is started before the first round."""
        self._context, self._settings, self._options = context, settings, options
        self._cache = AnswerCache(context.store, teacher_digest(settings), options.warn)
        self._warner = ModelMixWarner(options.warn)
        self._before = LedgerTotals()
        self._accepted = False
        self._denial: StageFailed | None = None
        self._lost: list[Tally] = []
        self._members: list[Member] = []
        self._crew: Crew | None = None
        self._count = self._losses = 0

    @property
    def tally(self) -> Tally:
        """What all members have bought, those that were lost included."""
        tally = Tally()
        for part in (*self._lost, *(member.news.tally for member in self._members)):
            tally.merge(part)
        return tally

    def begin(self, before: LedgerTotals) -> None:
        """Learn what earlier attempts cost."""
        self._before = before

    def know(self, answers: Iterable[AnswerRecord]) -> None:
        """Take note of answers that the cache held."""
        for answer in answers:
            self._warner.note(answer)
            self._accepted = True

    def execute(
        self,
        requests: Sequence[PendingRequest],
        concurrency: int,
        set_aside: int,
        progress: ProgressTracker,
        results: RequestResults,
    ) -> None:
        """Run one round in all pods (see Executor).

        Raises: also StageFailed(LimiterLost, WorkersLost) as infrastructure.
        """
        try:
            crew = self._assemble(concurrency)
            shares = split(requests, len(self._members))
            sizes = {member.name: len(share) for member, share in zip(self._members, shares, strict=True)}
            ray.get(crew.limiter.begin.remote(concurrency, set_aside, sizes))
            for member, share in zip(self._members, shares, strict=True):
                self._start(member, share)
            self._follow(progress, results)
        except RayError as error:
            message = (
                f"the Ray cluster failed ({type(error).__name__}): run again, answers bought so far are kept"
            )
            raise StageFailed("WorkersLost", message, "infrastructure") from None

    def denial(self) -> StageFailed | None:
        """Return what a closed door says (see Executor); a member's own share may be too small to judge by."""
        return None if self._accepted else self._denial

    def close(self) -> None:
        """Merge what the members wrote, and let them go."""
        if self._crew is None:
            return
        for member in self._members:
            try:
                ray.get(member.actor.close.remote())
            except RayError as error:
                self._options.warn(f"a part of the teacher's journal was not merged ({type(error).__name__})")
        self._crew.dismiss([member.actor for member in self._members])
        self._crew = None

    def _assemble(self, concurrency: int) -> Crew:
        """Start limiter and members, unless they are there."""
        if self._crew is None:
            cluster.connect(self._context.workers)
            spent = self._before.exact.spent + self._before.exact.unknown
            rate = self._settings.rate_limits.requests_per_minute
            self._crew = Crew(rate, budget_of(self._settings), spent)
            size = min(self._context.workers, concurrency)
            there = self._crew.await_nodes(size, self._context.stop_requested)
            if there < size:
                self._options.warn(f"only {there} of {size} worker pods are there to ask the teacher")
            recovered = self._before.recovered
            for _ in range(size):
                self._members.append(self._hire(recovered))
                recovered = ()
        return self._crew

    def _hire(self, recovered: Sequence[Settled]) -> Member:
        """Start a member where there is most room. Raises: SpecError, StageFailed(WorkersLost), StageStopped."""
        assert self._crew is not None
        self._count += 1
        order = self._order(f"member-{self._count}")
        while True:
            node = self._crew.node(self._context.stop_requested)
            actor = self._crew.hire(node)
            try:
                writer = ray.get(actor.open.remote(order, self._crew.limiter, recovered))
            except RayError:
                self._crew.avoid(node)
                self._count_loss()
                continue
            if isinstance(writer, DistilleryError):
                raise writer
            return Member(order.name, node, actor, writer)

    def _order(self, name: str) -> Order:
        run, limits = self._context.run, self._settings.rate_limits
        share = -(-limits.concurrency // self._context.workers)
        limits = limits.model_copy(update={"concurrency": share})
        return Order(
            name=name,
            settings=self._settings.model_copy(update={"rate_limits": limits}),
            store=self._context.store,
            ledger_uid=run.job_uid,
            stage=(run.stage, self._context.attempt),
            options=replace(self._options, warn=EngineOptions().warn),
        )

    def _count_loss(self) -> None:
        self._losses += 1
        if self._losses > LOSSES * self._context.workers:
            message = "workers were lost again and again: see the events of their pods; answers are kept"
            raise StageFailed("WorkersLost", message, "infrastructure")

    def _start(self, member: Member, requests: Sequence[PendingRequest]) -> None:
        member.requests, member.reply = requests, None
        member.news = News(tally=member.news.tally, done=not requests)
        for at in range(0, len(requests), CHUNK):
            member.actor.give.remote(list(requests[at : at + CHUNK]))
        if requests:
            member.actor.start.remote(self._accepted)

    def _follow(self, progress: ProgressTracker, results: RequestResults) -> None:
        """Gather results until every member is done. Raises: the first trouble of a member."""
        stop, trouble = False, None
        while busy := [member for member in self._members if not member.news.done]:
            for member in busy:
                if member.reply is None:
                    member.reply = member.actor.poll.remote(stop)
            ready, _ = ray.wait([member.reply for member in busy], num_returns=len(busy), timeout=POLL)
            for member in busy:
                if member.reply in ready:
                    error = self._listen(member, progress, results, stop)
                    trouble = _worse(trouble, error)
            under_way = sum(member.news.under_way for member in self._members)
            asked = progress.look(under_way, to_micro(self.tally.spent))
            stop = stop or asked or (trouble is not None and not _money(trouble))
            time.sleep(POLL)
        if trouble is not None:
            raise self._told(trouble, results)

    def _listen(
        self, member: Member, progress: ProgressTracker, results: RequestResults, stop: bool
    ) -> DistilleryError | None:
        """Take in a member's news; replace it if it is gone, or says that it is done and is not.

        Returns its trouble. A lost connection may lose requests on their way to a member that lives.
        """
        reply, member.reply = member.reply, None
        try:
            member.news = ray.get(reply)
        except RayError:
            return self._replace(member, progress, results, stop)
        for warning in member.news.warnings:
            self._warner.warn_once(warning, warning)
        self._file(member.news.results, progress, results)
        news = member.news
        self._denial = news.denial or self._denial
        if (
            news.done
            and news.error is None
            and any(request.key not in results for request in member.requests)
        ):
            return self._replace(member, progress, results, stop)
        return news.error

    def _file(
        self,
        found: Iterable[tuple[str, AnswerRecord | Unanswered]],
        progress: ProgressTracker,
        results: RequestResults,
    ) -> None:
        for key, result in found:
            results[key] = result
            progress.done(failed=isinstance(result, Unanswered))
            if isinstance(result, AnswerRecord):
                self.know([result])

    def _replace(
        self, member: Member, progress: ProgressTracker, results: RequestResults, stop: bool
    ) -> DistilleryError | None:
        """Settle what a lost member has cost and give its open requests to a new one. Returns its trouble."""
        assert self._crew is not None
        try:
            recovered = self._bury(member)
            self._count_loss()
            new = None if stop else self._hire(recovered)
            left = self._left(
                member, progress, results
            )  # not before: to hire takes minutes if a pod must come
        except DistilleryError as trouble:
            return trouble
        if new is None:
            return StageStopped("stop requested")
        self._members.append(new)
        ray.get(self._crew.limiter.enrol.remote(new.name, len(left)))
        self._start(new, left)
        return None

    def _bury(self, member: Member) -> Sequence[Settled]:
        """End a lost member, which may be alive, and return what became of the calls it had under way."""
        assert self._crew is not None
        self._members.remove(member)
        self._crew.avoid(member.node)
        self._crew.end(member.name, member.actor)
        last = read_writer(self._context.store, self._context.run.job_uid, member.writer, self._options.warn)
        self._lost.append(last.tally)
        ray.get(self._crew.limiter.forget.remote(member.name, last.tally.spent + last.tally.unknown))
        return last.recovered

    def _left(
        self, member: Member, progress: ProgressTracker, results: RequestResults
    ) -> list[PendingRequest]:
        """Return the requests that a lost member left, less those whose answers stand in the journal."""
        open_requests = [request for request in member.requests if request.key not in results]
        top = self._settings.parameters.top_logprobs
        found = self._cache.find({request.key: top for request in open_requests})
        self._file(found.items(), progress, results)
        return [request for request in open_requests if request.key not in found]

    def _told(self, trouble: DistilleryError, results: RequestResults) -> DistilleryError:
        """Return the trouble as it is, but of the whole fleet where it is about money."""
        if not _money(trouble) or self._crew is None:
            return trouble
        left = [
            request.bound
            for member in self._members
            for request in member.requests
            if request.key not in results
        ]
        if not left:
            return trouble
        budget = ray.get(self._crew.limiter.money.remote())
        return failures.budget_reached(self._settings, budget, min(left) + budget.overrun, len(left))


def split(requests: Iterable[PendingRequest], parts: int) -> list[list[PendingRequest]]:
    """Split requests by the digest that names their answers: equal questions always meet in the same part."""
    shares: list[list[PendingRequest]] = [[] for _ in range(parts)]
    for request in requests:
        shares[int(request.key[:12], 16) % parts].append(request)
    return shares


def _money(trouble: DistilleryError) -> bool:
    return isinstance(trouble, StageFailed) and trouble.failure_class == "budget"


def _worse(trouble: DistilleryError | None, other: DistilleryError | None) -> DistilleryError | None:
    """Return what the stage ends with: the first real trouble, else a reached budget, else a stop."""
    ranks = [one for one in (trouble, other) if one is not None]
    return min(ranks, key=lambda one: 2 if isinstance(one, StageStopped) else int(_money(one)), default=None)

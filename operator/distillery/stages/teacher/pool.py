"""The worker pool asks the teacher with one actor per pod; a limiter beside the driver keeps them within shared limits.

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

from distillery.api.teacher_settings import TeacherSettings
from distillery.errors import DistilleryError, StageFailed, StageStopped
from distillery.querying import (
    AnswerCache,
    AnswerRecord,
    EngineOptions,
    LedgerTotals,
    ModelMixWarner,
    PendingRequest,
    ProgressTracker,
    RequestResults,
    Settlement,
    Tally,
    Unanswered,
    budget_of,
    budget_reached,
    read_writer,
    teacher_digest,
    to_micro,
)
from distillery.stages import cluster
from distillery.stages.context import StageContext
from distillery.stages.teacher.actors import ActorSet
from distillery.stages.teacher.query_worker import PollResult, WorkerConfig

POLL = 0.2
"""Seconds between two polls of each worker; a stop request travels as fast."""
CHUNK = 2000
"""Requests handed over at once."""
LOSSES = 3
"""So many workers may be lost, for each that there is, before the cluster is given up."""


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """An actor as the driver sees it."""

    name: str
    node: str
    actor: Any
    writer: str
    requests: Sequence[PendingRequest] = ()
    polled: PollResult = field(default_factory=PollResult)
    reply: Any = None
    """The answer to the last poll, on its way."""


class WorkerPool:
    """An executor (see querying.executor.Executor) whose rounds run in the worker pods."""

    def __init__(self, context: StageContext, settings: TeacherSettings, options: EngineOptions) -> None:
        """Nothing is started before the first round."""
        self._context, self._settings, self._options = context, settings, options
        self._cache = AnswerCache(context.store, teacher_digest(settings), options.warn)
        self._warner = ModelMixWarner(options.warn)
        self._before = LedgerTotals()
        self._accepted = False
        self._denial: StageFailed | None = None
        self._lost: list[Tally] = []
        self._workers: list[WorkerHandle] = []
        self._actors: ActorSet | None = None
        self._count = self._losses = 0

    @property
    def tally(self) -> Tally:
        """What all workers have bought, those that were lost included."""
        tally = Tally()
        for part in (*self._lost, *(worker.polled.tally for worker in self._workers)):
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
            actors = self._assemble(concurrency)
            shares = split(requests, len(self._workers))
            sizes = {worker.name: len(share) for worker, share in zip(self._workers, shares, strict=True)}
            ray.get(actors.limiter.begin.remote(concurrency, set_aside, sizes))
            for worker, share in zip(self._workers, shares, strict=True):
                self._start(worker, share)
            self._collect(progress, results)
        except RayError as error:
            message = (
                f"the Ray cluster failed ({type(error).__name__}): run again, answers bought so far are kept"
            )
            raise StageFailed("WorkersLost", message, "infrastructure") from None

    def denial(self) -> StageFailed | None:
        """Return the denial of access, unless a worker got an answer: one share may be too small to judge by."""
        return None if self._accepted else self._denial

    def close(self) -> None:
        """Merge what the workers wrote, and let them go."""
        if self._actors is None:
            return
        for worker in self._workers:
            try:
                ray.get(worker.actor.close.remote())
            except RayError as error:
                self._options.warn(f"a part of the teacher's journal was not merged ({type(error).__name__})")
        self._actors.terminate([worker.actor for worker in self._workers])
        self._actors = None

    def _assemble(self, concurrency: int) -> ActorSet:
        """Start limiter and workers, unless they are there."""
        if self._actors is None:
            cluster.connect(self._context.workers)
            spent = self._before.exact.spent + self._before.exact.unknown
            rate = self._settings.rate_limits.requests_per_minute
            self._actors = ActorSet(rate, budget_of(self._settings), spent)
            size = min(self._context.workers, concurrency)
            there = self._actors.await_nodes(size, self._context.stop_requested)
            if there < size:
                self._options.warn(f"only {there} of {size} worker pods are there to ask the teacher")
            recovered = self._before.recovered
            for _ in range(size):
                self._workers.append(self._spawn(recovered))
                recovered = ()
        return self._actors

    def _spawn(self, recovered: Sequence[Settlement]) -> WorkerHandle:
        """Start a worker where there is most room. Raises: SpecError, StageFailed(WorkersLost), StageStopped."""
        assert self._actors is not None
        self._count += 1
        config = self._config(f"worker-{self._count}")
        while True:
            node = self._actors.node(self._context.stop_requested)
            actor = self._actors.spawn(node)
            try:
                writer = ray.get(actor.open.remote(config, self._actors.limiter, recovered))
            except RayError:
                self._actors.cordon(node)
                self._count_loss()
                continue
            if isinstance(writer, DistilleryError):
                raise writer
            return WorkerHandle(config.name, node, actor, writer)

    def _config(self, name: str) -> WorkerConfig:
        run, limits = self._context.run, self._settings.rate_limits
        share = -(-limits.concurrency // self._context.workers)
        limits = limits.model_copy(update={"concurrency": share})
        return WorkerConfig(
            name=name,
            settings=self._settings.model_copy(update={"rate_limits": limits}),
            store=self._context.store,
            ledger_uid=run.job_uid,
            stage=run.stage,
            attempt=self._context.attempt,
            options=replace(self._options, warn=EngineOptions().warn),
        )

    def _count_loss(self) -> None:
        self._losses += 1
        if self._losses > LOSSES * self._context.workers:
            message = "workers were lost again and again: see the events of their pods; answers are kept"
            raise StageFailed("WorkersLost", message, "infrastructure")

    def _start(self, worker: WorkerHandle, requests: Sequence[PendingRequest]) -> None:
        worker.requests, worker.reply = requests, None
        worker.polled = PollResult(tally=worker.polled.tally, done=not requests)
        for at in range(0, len(requests), CHUNK):
            worker.actor.enqueue.remote(list(requests[at : at + CHUNK]))
        if requests:
            worker.actor.start.remote(self._accepted)

    def _collect(self, progress: ProgressTracker, results: RequestResults) -> None:
        """Gather results until every worker is done. Raises: the first trouble of a worker."""
        stop, trouble = False, None
        while busy := [worker for worker in self._workers if not worker.polled.done]:
            for worker in busy:
                if worker.reply is None:
                    worker.reply = worker.actor.poll.remote(stop)
            ready, _ = ray.wait([worker.reply for worker in busy], num_returns=len(busy), timeout=POLL)
            for worker in busy:
                if worker.reply in ready:
                    error = self._receive(worker, progress, results, stop)
                    trouble = _worse(trouble, error)
            under_way = sum(worker.polled.under_way for worker in self._workers)
            asked = progress.look(under_way, to_micro(self.tally.spent))
            stop = stop or asked or (trouble is not None and not _money(trouble))
            time.sleep(POLL)
        if trouble is not None:
            raise self._pool_wide(trouble, results)

    def _receive(
        self, worker: WorkerHandle, progress: ProgressTracker, results: RequestResults, stop: bool
    ) -> DistilleryError | None:
        """Take in what a worker says; replace it if it is gone, or says that it is done and is not.

        Returns its trouble. A lost connection may lose requests on their way to a worker that lives.
        """
        reply, worker.reply = worker.reply, None
        try:
            worker.polled = ray.get(reply)
        except RayError:
            return self._replace(worker, progress, results, stop)
        for warning in worker.polled.warnings:
            self._warner.warn_once(warning, warning)
        self._file(worker.polled.results, progress, results)
        polled = worker.polled
        self._denial = polled.denial or self._denial
        if (
            polled.done
            and polled.error is None
            and any(request.key not in results for request in worker.requests)
        ):
            return self._replace(worker, progress, results, stop)
        return polled.error

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
        self, worker: WorkerHandle, progress: ProgressTracker, results: RequestResults, stop: bool
    ) -> DistilleryError | None:
        """Settle what a lost worker has cost and give its open requests to a new one. Returns its trouble."""
        assert self._actors is not None
        try:
            recovered = self._settle_lost(worker)
            self._count_loss()
            new = None if stop else self._spawn(recovered)
            # Not before: to spawn takes minutes if a pod must come.
            left = self._unfinished(worker, progress, results)
        except DistilleryError as trouble:
            return trouble
        if new is None:
            return StageStopped("stop requested")
        self._workers.append(new)
        ray.get(self._actors.limiter.register.remote(new.name, len(left)))
        self._start(new, left)
        return None

    def _settle_lost(self, worker: WorkerHandle) -> Sequence[Settlement]:
        """End a lost worker, which may be alive, and return what became of the calls it had under way."""
        assert self._actors is not None
        self._workers.remove(worker)
        self._actors.cordon(worker.node)
        self._actors.fence(worker.name, worker.actor)
        last = read_writer(self._context.store, self._context.run.job_uid, worker.writer, self._options.warn)
        self._lost.append(last.tally)
        ray.get(self._actors.limiter.remove.remote(worker.name, last.tally.spent + last.tally.unknown))
        return last.recovered

    def _unfinished(
        self, worker: WorkerHandle, progress: ProgressTracker, results: RequestResults
    ) -> list[PendingRequest]:
        """Return the requests that a lost worker left, less those whose answers stand in the journal."""
        open_requests = [request for request in worker.requests if request.key not in results]
        top = self._settings.parameters.top_logprobs
        found = self._cache.find({request.key: top for request in open_requests})
        self._file(found.items(), progress, results)
        return [request for request in open_requests if request.key not in found]

    def _pool_wide(self, trouble: DistilleryError, results: RequestResults) -> DistilleryError:
        """Return the trouble as it is, but of the whole pool where it is about money."""
        if not _money(trouble) or self._actors is None:
            return trouble
        left = [
            request.bound
            for worker in self._workers
            for request in worker.requests
            if request.key not in results
        ]
        if not left:
            return trouble
        budget = ray.get(self._actors.limiter.money.remote())
        return budget_reached(self._settings, budget, min(left) + budget.overrun, len(left))


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

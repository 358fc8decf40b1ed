"""One round of asking: sends jobs at the allowed pace, within the budget, and files what comes back.

A single dispatcher decides what is sent next; every call is a task of its own. Whatever ends the round
early (a stop request, a closed door, the budget) lets calls in flight finish, so that paid answers are
filed and durable.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from typing import assert_never

import msgspec

from distillery.errors import StageStopped
from distillery.querying import complaints
from distillery.querying.answers import Unanswered, UnansweredReason, Usage
from distillery.querying.books import Call
from distillery.querying.client import ChatClient, TransportError
from distillery.querying.commit import GroupCommit
from distillery.querying.desk import Desk
from distillery.querying.journal import AnswerRecord
from distillery.querying.limits import Demand
from distillery.querying.pricing import to_micro
from distillery.querying.replies import (
    Completed,
    Failed,
    Outcome,
    RateLimited,
    Refused,
    Rejected,
    read_reply,
)
from distillery.querying.schedule import Job, Schedule, backoff
from distillery.querying.watch import Watch

INTENT_SECONDS = 0.02
"""Calls that start within this time share one ledger entry."""
REJECTED_LIMIT = 20
"""So many unacceptable rows in a row, and not one accepted: it is not the rows."""
REFUSED_LIMIT = 8
"""So many rows in a row that are turned away as all would be, without an answer between: it is not the rows."""
FOREVER = 3600.0
PROBE_WAIT = 0.25

Purchases = dict[str, AnswerRecord | Unanswered]
"""What came of jobs, by key."""


class Round:
    """Buys answers to jobs."""

    def __init__(self, desk: Desk, jobs: Sequence[Job], watch: Watch, results: Purchases) -> None:
        """The desk's limits must have begun; `results` receives what comes of the jobs, at once."""
        self._results = results
        self._desk = desk
        self._options = desk.options
        self._schedule = Schedule(jobs)
        self._bound = max((job.bound for job in jobs), default=0)
        self._watch = watch
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._ending: BaseException | None = None
        self._limited_since: float | None = None
        desk.health.begin()
        self._client: ChatClient
        self._answers: GroupCommit

    async def run(self, opening: Iterable[bytes] = ()) -> None:
        """Ask until every job has a result.

        Raises: StageFailed, StageStopped, TransientError, once all paid answers are durable.
        """
        desk = self._desk
        answers = GroupCommit(desk.journal, self._options.commit_seconds)
        ledger = GroupCommit(desk.ledger, INTENT_SECONDS, self._options.commit_seconds)
        client = ChatClient(desk.settings.url, desk.api_key, self._options.timeout_seconds)
        async with answers, ledger, client:
            self._client, self._answers, desk.books.commit = client, answers, ledger
            for entry in opening:
                ledger.append(entry, lazy=True)
            ticker = asyncio.create_task(self._tick())
            keeper = asyncio.create_task(desk.limits.keep(self._demand, self._changed.set))
            for task in (ticker, keeper):
                task.add_done_callback(self._finished)
            try:
                await self._dispatch()
            finally:
                ticker.cancel()
                await self._drain()
                desk.limits.end()
                await asyncio.wait([keeper])
                desk.books.commit = None
        if self._ending is not None:
            raise self._ending

    async def _dispatch(self) -> None:
        while self._ending is None:
            wait = self._start_next(time.monotonic())
            if wait is None:
                return
            if wait > 0:
                await self._change(wait)

    def _start_next(self, now: float) -> float | None:
        """Start one call if one may start; return the seconds to wait before the next look, None when all is done."""
        desk, schedule = self._desk, self._schedule
        if desk.refusal is not None and desk.refused_in_a_row >= REFUSED_LIMIT:
            if self._tasks:
                return FOREVER  # refusals are quick: an answer that takes its time may show that the door is open
            self._end(desk.refusal)
            return 0.0
        if not schedule and not self._tasks:
            return None
        if not schedule or not desk.limits.room(len(self._tasks)):
            return FOREVER
        # Without fresh rows as probes, a row is tried once more when the time is over: see _retry.
        if schedule.fresh and desk.health.is_down(now, len(self._tasks)):
            self._give_up(now - desk.health.since, desk.health.last)
            return 0.0
        if (delay := desk.limits.delay(now)) > 0:
            return delay
        waiting = len(schedule.fresh)
        job = schedule.take(now, desk.health.allows_fresh(now), probe=desk.health.is_open)
        if job is None:
            due = schedule.next_retry()
            return min(PROBE_WAIT, max(0.001, due - now)) if due is not None else PROBE_WAIT
        reserved = desk.limits.reserve(job.bound)
        if reserved is None:
            return self._wait_for_refund(job)
        if len(schedule.fresh) < waiting:
            desk.health.sent_fresh(now)
        desk.limits.sent(now)
        task = asyncio.create_task(self._attempt(job, reserved))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return 0.0

    def _wait_for_refund(self, job: Job) -> float:
        """Calls in flight give back what they do not use; only when none is left is the budget reached."""
        self._schedule.put_back(job)
        limits = self._desk.limits
        if self._tasks or not limits.exhausted():
            return FOREVER
        needed = job.bound + limits.budget.overrun
        self._end(complaints.budget_reached(self._desk.settings, limits.budget, needed, len(self._schedule)))
        return 0.0

    async def _attempt(self, job: Job, reserved: int) -> None:
        desk = self._desk
        try:
            body = desk.builder.body(job.question)
        except ValueError as error:
            desk.limits.settle(reserved, 0)
            self._leave(job, "RequestRejected", f"the question is no JSON text: {error}")
            return
        call = desk.books.open(job.bound, reserved)
        try:
            await desk.books.intend(call)
            call.sent = True
            job.sent_at = time.monotonic()
            outcome, seconds = await self._send(body)
            self._conclude(job, call, outcome, seconds)
        finally:
            desk.books.abandon(call)

    async def _send(self, body: bytes) -> tuple[Outcome, float]:
        try:
            reply = await self._client.post(body)
        except TransportError as failure:
            return _outcome_of(failure), 0.0
        return read_reply(reply.status, reply.headers, reply.body, time.time()), reply.seconds

    def _conclude(self, job: Job, call: Call, outcome: Outcome, seconds: float) -> None:
        desk, now = self._desk, time.monotonic()
        if not isinstance(outcome, RateLimited):
            desk.limits.accepted(now)
        match outcome:
            case Completed():
                self._file(job, call, outcome, seconds, now)
            case Failed():
                self._retry(job, call, outcome, now)
            case RateLimited():
                desk.books.release(call)
                self._slow_down(job, outcome, now)
            case Rejected():
                desk.books.release(call)
                desk.health.responded(now)
                self._leave(job, outcome.reason, outcome.message)
                desk.rejected_in_a_row += 1
                if not desk.accepted and desk.rejected_in_a_row >= REJECTED_LIMIT:
                    self._end(complaints.rejects_everything(desk.settings, self._scrub(outcome.message)))
            case Refused():
                desk.books.release(call)
                self._turn_away(job, outcome, now)
            case _:
                assert_never(outcome)

    def _file(self, job: Job, call: Call, answer: Completed, seconds: float, now: float) -> None:
        """Make a paid answer durable, then settle its call."""
        desk = self._desk
        usage = answer.usage
        record = AnswerRecord(
            key=job.key,
            call=call.name,
            top=desk.settings.parameters.top_logprobs,
            text=answer.text,
            finish=answer.finish_reason,
            refusal=answer.refusal,
            usage=(usage.prompt, usage.cached, usage.completion) if usage else None,
            model=answer.model,
            fingerprint=answer.fingerprint,
            seconds=round(seconds, 4),
            logprobs=[(token.token, token.logprob, token.top) for token in answer.logprobs]
            if answer.logprobs is not None
            else None,
        )
        self._answers.append(msgspec.json.encode(record))
        self._settle(call, usage)
        self._results[job.key] = record
        desk.health.succeeded(now)
        desk.accepted = True
        desk.refused_in_a_row = 0
        self._limited_since = None
        desk.notes.note(answer)
        self._watch.done(failed=False)

    def _turn_away(self, job: Job, refusal: Refused, now: float) -> None:
        """End the round at a closed door, or leave this row since the door may be open to others."""
        desk = self._desk
        message = self._scrub(refusal.message)
        desk.refusal = complaints.refused(desk.settings, refusal.status, job.question.row_id, message)
        desk.refused_in_a_row += 1
        if not refusal.of_row:
            self._end(desk.refusal)
            return
        desk.health.responded(now)
        self._leave(job, "RequestRejected", refusal.message)

    def _settle(self, call: Call, usage: Usage | None) -> None:
        desk = self._desk
        if usage is None:
            what = "the teacher does not say how many tokens it bills"
            desk.notes.warn_once("usage", f"{what}: such calls count with the most they can cost")
        if desk.books.settle(call, usage) and desk.limits.budget.limit is not None:
            what = "a call was billed more than its text and maxTokens allow"
            desk.notes.warn_once("overrun", f"{what}: later calls reserve as much more")

    def _retry(self, job: Job, call: Call, failure: Failed, now: float) -> None:
        desk, options = self._desk, self._options
        if failure.billed == "no":
            desk.books.release(call)
        else:
            self._settle_failure(job, call, failure)
        health, fresh = desk.health, bool(self._schedule.fresh)
        job.fail(failure.reason, now, health.responded_at, spared=health.is_open and fresh)
        health.failed(now, job, self._scrub(failure.message))
        if health.is_down(now, len(self._tasks)):
            self._give_up(now - health.since, health.last)
            return
        if health.leaves(job, now, fresh=fresh):
            self._leave(job, failure.reason, failure.message)
            return
        wait = backoff(job.tries, options.backoff_seconds, options.longest_backoff_seconds, random.random())
        self._schedule.retry(job, now + wait)

    def _settle_failure(self, job: Job, call: Call, failure: Failed) -> None:
        self._desk.books.settle(call, failure.usage)
        if failure.usage is not None:
            before = job.usage or Usage()
            job.usage = Usage(
                before.prompt + failure.usage.prompt,
                before.cached + failure.usage.cached,
                before.completion + failure.usage.completion,
            )

    def _slow_down(self, job: Job, refusal: RateLimited, now: float) -> None:
        """Pause everyone, and send this row first when the pause is over; it does not count as a try."""
        options = self._options
        wait = refusal.wait if refusal.wait is not None else options.backoff_seconds
        wait = min(wait, options.longest_pause_seconds) * (1 + 0.1 * random.random())
        self._desk.limits.refused(now, wait)
        self._desk.health.asked_to_wait(now + wait)
        self._schedule.retry(job, now)
        if self._limited_since is None:
            self._limited_since = now
        elif now - self._limited_since > options.rate_limited_seconds:
            self._give_up(now - self._limited_since, self._scrub(refusal.message))

    def _leave(self, job: Job, reason: UnansweredReason, message: str) -> None:
        """Leave a job without an answer."""
        message = self._scrub(message)
        self._results[job.key] = Unanswered(job.question, job.key, reason, message, job.usage)
        self._watch.done(failed=True)

    def _scrub(self, message: str) -> str:
        return self._client.scrub(message)

    def _give_up(self, seconds: float, message: str) -> None:
        self._end(complaints.unavailable(self._desk.settings, seconds, message))

    def _end(self, error: BaseException) -> None:
        """End the round: nothing more is sent. The first reason stands."""
        if self._ending is None:
            self._ending = error
        self._changed.set()

    def _demand(self) -> Demand:
        return Demand(len(self._tasks), len(self._schedule), self._bound)

    async def _change(self, wait: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)

    async def _drain(self) -> None:
        """Let calls in flight finish for a while, then give them up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._options.drain_seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _tick(self) -> None:
        """Look for a stop request ten times a second, report progress now and then."""
        while True:
            if self._watch.look(len(self._tasks), to_micro(self._desk.books.tally.spent)):
                self._end(StageStopped("stop requested"))
                return
            await asyncio.sleep(0.1)


def _outcome_of(failure: TransportError) -> Outcome:
    match failure.kind:
        case "refused":
            return Refused(0, failure.message)
        case "unsent":
            return Failed("ConnectionLost", failure.message)
        case "lost":
            return Failed("ConnectionLost", failure.message, "unknown")
        case "timeout":
            return Failed("TimedOut", failure.message, "unknown")
        case "too-large":
            return Failed("UnreadableReply", failure.message, "unknown")
        case _:
            assert_never(failure.kind)

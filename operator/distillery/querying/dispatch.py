"""The dispatcher: sends the requests of one round at the allowed pace, within the budget, and files what comes back.

One loop decides what is sent next; every call is a task of its own. Whatever ends the round
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
from distillery.querying import failures
from distillery.querying.answers import Unanswered, UnansweredReason, Usage
from distillery.querying.call_ledger import Call
from distillery.querying.client import ChatClient, TransportError
from distillery.querying.commit import GroupCommit
from distillery.querying.journal import AnswerRecord
from distillery.querying.limits import Demand
from distillery.querying.pricing import to_micro
from distillery.querying.progress import ProgressTracker
from distillery.querying.replies import (
    AccessDenied,
    Completed,
    Failed,
    RateLimited,
    Rejected,
    Reply,
    read_reply,
)
from distillery.querying.request_queue import PendingRequest, RequestQueue, backoff
from distillery.querying.session import Session

INTENT_SECONDS = 0.02
"""Calls that start within this time share one ledger entry."""
REJECTED_LIMIT = 20
"""So many unacceptable rows in a row, and not one accepted: it is not the rows."""
DENIED_LIMIT = 8
"""So many rows in a row that are denied as all would be, without an answer between: it is not the rows."""
FOREVER = 3600.0
PROBE_WAIT = 0.25

RequestResults = dict[str, AnswerRecord | Unanswered]
"""What came of requests, by key."""


class Dispatcher:
    """Asks the teacher until each of a round's requests has an answer or a reason."""

    def __init__(
        self,
        session: Session,
        requests: Sequence[PendingRequest],
        progress: ProgressTracker,
        results: RequestResults,
    ) -> None:
        """The session's limits must have begun; `results` receives what comes of the requests, at once."""
        self._results = results
        self._session = session
        self._options = session.options
        self._queue = RequestQueue(requests)
        self._bound = max((request.bound for request in requests), default=0)
        self._progress = progress
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._ending: BaseException | None = None
        self._limited_since: float | None = None
        session.breaker.begin()
        self._client: ChatClient
        self._answers: GroupCommit

    async def run(self, opening: Iterable[bytes] = ()) -> None:
        """Ask until every request has a result.

        Raises: StageFailed, StageStopped, TransientError, once all paid answers are durable.
        """
        session = self._session
        answers = GroupCommit(session.journal, self._options.commit_seconds)
        ledger = GroupCommit(session.ledger, INTENT_SECONDS, self._options.commit_seconds)
        client = ChatClient(session.settings.url, session.api_key, self._options.timeout_seconds)
        async with answers, ledger, client:
            self._client, self._answers, session.calls.commit = client, answers, ledger
            for entry in opening:
                ledger.append(entry, lazy=True)
            ticker = asyncio.create_task(self._tick())
            keeper = asyncio.create_task(session.limits.keep(self._demand, self._changed.set))
            for task in (ticker, keeper):
                task.add_done_callback(self._finished)
            try:
                await self._dispatch()
            finally:
                ticker.cancel()
                await self._drain()
                session.limits.end()
                await asyncio.wait([keeper])
                session.calls.commit = None
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
        session, queue = self._session, self._queue
        if session.denial is not None and session.denied_in_a_row >= DENIED_LIMIT:
            if self._tasks:
                return FOREVER  # such replies are quick: an answer that takes its time may show that the door is open
            self._end(session.denial)
            return 0.0
        if not queue and not self._tasks:
            return None
        if not queue or not session.limits.room(len(self._tasks)):
            return FOREVER
        # Without fresh rows as probes, a row is tried once more when the time is over: see _retry.
        if queue.fresh and session.breaker.is_down(now, len(self._tasks)):
            self._give_up(now - session.breaker.since, session.breaker.last)
            return 0.0
        if (delay := session.limits.delay(now)) > 0:
            return delay
        waiting = len(queue.fresh)
        request = queue.take(now, session.breaker.allows_fresh(now), probe=session.breaker.is_open)
        if request is None:
            due = queue.next_retry()
            return min(PROBE_WAIT, max(0.001, due - now)) if due is not None else PROBE_WAIT
        reserved = session.limits.reserve(request.bound)
        if reserved is None:
            return self._wait_for_refund(request)
        if len(queue.fresh) < waiting:
            session.breaker.sent_fresh(now)
        session.limits.sent(now)
        task = asyncio.create_task(self._attempt(request, reserved))
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return 0.0

    def _wait_for_refund(self, request: PendingRequest) -> float:
        """Calls in flight give back what they do not use; only when none is left is the budget reached."""
        self._queue.put_back(request)
        limits = self._session.limits
        if self._tasks or not limits.exhausted():
            return FOREVER
        needed = request.bound + limits.budget.overrun
        self._end(failures.budget_reached(self._session.settings, limits.budget, needed, len(self._queue)))
        return 0.0

    async def _attempt(self, request: PendingRequest, reserved: int) -> None:
        session = self._session
        try:
            body = session.builder.body(request.question)
        except ValueError as error:
            session.limits.settle(reserved, 0)
            self._leave(request, "RequestRejected", f"the question is no JSON text: {error}")
            return
        call = session.calls.open(request.bound, reserved)
        try:
            await session.calls.intend(call)
            call.sent = True
            request.sent_at = time.monotonic()
            reply, seconds = await self._send(body)
            self._conclude(request, call, reply, seconds)
        finally:
            session.calls.abandon(call)

    async def _send(self, body: bytes) -> tuple[Reply, float]:
        try:
            reply = await self._client.post(body)
        except TransportError as failure:
            return _reply_of(failure), 0.0
        return read_reply(reply.status, reply.headers, reply.body, time.time()), reply.seconds

    def _conclude(self, request: PendingRequest, call: Call, reply: Reply, seconds: float) -> None:
        session, now = self._session, time.monotonic()
        if not isinstance(reply, RateLimited):
            session.limits.accepted(now)
        match reply:
            case Completed():
                self._file(request, call, reply, seconds, now)
            case Failed():
                self._retry(request, call, reply, now)
            case RateLimited():
                session.calls.release(call)
                self._slow_down(request, reply, now)
            case Rejected():
                session.calls.release(call)
                session.breaker.responded(now)
                self._leave(request, reply.reason, reply.message)
                session.rejected_in_a_row += 1
                if not session.accepted and session.rejected_in_a_row >= REJECTED_LIMIT:
                    self._end(failures.rejects_everything(session.settings, self._scrub(reply.message)))
            case AccessDenied():
                session.calls.release(call)
                self._deny(request, reply, now)
            case _:
                assert_never(reply)

    def _file(
        self, request: PendingRequest, call: Call, answer: Completed, seconds: float, now: float
    ) -> None:
        """Make a paid answer durable, then settle its call."""
        session = self._session
        usage = answer.usage
        record = AnswerRecord(
            key=request.key,
            call=call.name,
            top=session.settings.parameters.top_logprobs,
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
        self._results[request.key] = record
        session.breaker.succeeded(now)
        session.accepted = True
        session.denied_in_a_row = 0
        self._limited_since = None
        session.warner.note(answer)
        self._progress.done(failed=False)

    def _deny(self, request: PendingRequest, denial: AccessDenied, now: float) -> None:
        """End the round if the teacher denies access to all, or leave this row since it may be denied alone."""
        session = self._session
        message = self._scrub(denial.message)
        session.denial = failures.access_denied(
            session.settings, denial.status, request.question.row_id, message
        )
        session.denied_in_a_row += 1
        if not denial.of_row:
            self._end(session.denial)
            return
        session.breaker.responded(now)
        self._leave(request, "RequestRejected", denial.message)

    def _settle(self, call: Call, usage: Usage | None) -> None:
        session = self._session
        if usage is None:
            what = "the teacher does not say how many tokens it bills"
            session.warner.warn_once("usage", f"{what}: such calls count with the most they can cost")
        if session.calls.settle(call, usage) and session.limits.budget.limit is not None:
            what = "a call was billed more than its text and maxTokens allow"
            session.warner.warn_once("overrun", f"{what}: later calls reserve as much more")

    def _retry(self, request: PendingRequest, call: Call, failure: Failed, now: float) -> None:
        session, options = self._session, self._options
        if failure.billed == "no":
            session.calls.release(call)
        else:
            self._settle_failure(request, call, failure)
        breaker, fresh = session.breaker, bool(self._queue.fresh)
        request.fail(failure.reason, now, breaker.responded_at, spared=breaker.is_open and fresh)
        breaker.failed(now, request, self._scrub(failure.message))
        if breaker.is_down(now, len(self._tasks)):
            self._give_up(now - breaker.since, breaker.last)
            return
        if breaker.leaves(request, now, fresh=fresh):
            self._leave(request, failure.reason, failure.message)
            return
        wait = backoff(
            request.tries, options.backoff_seconds, options.longest_backoff_seconds, random.random()
        )
        self._queue.retry(request, now + wait)

    def _settle_failure(self, request: PendingRequest, call: Call, failure: Failed) -> None:
        self._session.calls.settle(call, failure.usage)
        if failure.usage is not None:
            before = request.usage or Usage()
            request.usage = Usage(
                before.prompt + failure.usage.prompt,
                before.cached + failure.usage.cached,
                before.completion + failure.usage.completion,
            )

    def _slow_down(self, request: PendingRequest, reply: RateLimited, now: float) -> None:
        """Pause everyone, and send this row first when the pause is over; it does not count as a try."""
        options = self._options
        wait = reply.wait if reply.wait is not None else options.backoff_seconds
        wait = min(wait, options.longest_pause_seconds) * (1 + 0.1 * random.random())
        self._session.limits.throttled(now, wait)
        self._session.breaker.asked_to_wait(now + wait)
        self._queue.retry(request, now)
        if self._limited_since is None:
            self._limited_since = now
        elif now - self._limited_since > options.rate_limited_seconds:
            self._give_up(now - self._limited_since, self._scrub(reply.message))

    def _leave(self, request: PendingRequest, reason: UnansweredReason, message: str) -> None:
        """Leave a request without an answer."""
        message = self._scrub(message)
        self._results[request.key] = Unanswered(request.question, request.key, reason, message, request.usage)
        self._progress.done(failed=True)

    def _scrub(self, message: str) -> str:
        return self._client.scrub(message)

    def _give_up(self, seconds: float, message: str) -> None:
        self._end(failures.unavailable(self._session.settings, seconds, message))

    def _end(self, error: BaseException) -> None:
        """End the round: nothing more is sent. The first reason stands."""
        if self._ending is None:
            self._ending = error
        self._changed.set()

    def _demand(self) -> Demand:
        return Demand(len(self._tasks), len(self._queue), self._bound)

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
            if self._progress.look(len(self._tasks), to_micro(self._session.calls.tally.spent)):
                self._end(StageStopped("stop requested"))
                return
            await asyncio.sleep(0.1)


def _reply_of(failure: TransportError) -> Reply:
    match failure.kind:
        case "unreachable":
            return AccessDenied(0, failure.message)
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

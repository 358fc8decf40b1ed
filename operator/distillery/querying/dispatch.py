"""The dispatcher: sends the requests of one round at the allowed pace, within the budget, and files what comes back.

One loop decides what is sent next: rows due for another try first, then fresh ones. Every call is a task of its own.
Whatever ends the round early (a stop request, a teacher that is away or denies access, the budget) lets calls in flight
finish, so that paid answers are filed and durable.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

import msgspec

from distillery.errors import StageStopped
from distillery.querying import failures
from distillery.querying.answers import ProgressTracker, Question, Unanswered, UnansweredReason, Usage
from distillery.querying.cache import AnswerRecord
from distillery.querying.client import ChatClient, TransportError
from distillery.querying.cost import to_micro
from distillery.querying.history import RowHistory, TeacherHistory, pause_seconds
from distillery.querying.limits import Demand
from distillery.querying.replies import (
    AccessDenied,
    CallFailure,
    Completed,
    Failed,
    RateLimited,
    Reply,
    read_reply,
)
from distillery.querying.retry import (
    AwaitReplies,
    LeaveUnanswered,
    Retry,
    TeacherDown,
    TeacherRefuses,
    after_failure,
    before_call,
)
from distillery.querying.session import Call, Session
from distillery.querying.wal import GroupCommit

INTENT_SECONDS = 0.02
"""Calls that start within this time share one ledger entry: below it every call would cost the store a write."""
FOREVER = 3600.0
"""Until something changes: a call that comes back, a grant, a stop wakes the loop."""
PROBE_WAIT = 0.25
"""Between looks whether a probe may go out: well below the second between probes."""

RequestResults = dict[str, AnswerRecord | Unanswered]
"""What came of requests, by key."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One question to ask, and what happened to it so far. `bound` is the reserve for one call, in picos."""

    question: Question
    key: str
    bound: int
    usage: Usage | None = None
    """What failed calls cost, where the teacher said so."""
    row: RowHistory = field(init=False)

    def __post_init__(self) -> None:
        self.row = RowHistory(self.question.row_id, self.key)


class RequestQueue:
    """Requests that wait for their (next) call."""

    def __init__(self, requests: Iterable[PendingRequest]) -> None:
        self.fresh: deque[PendingRequest] = deque(requests)
        self._retries: list[tuple[float, int, PendingRequest]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self.fresh) + len(self._retries)

    def take(self, teacher: TeacherHistory, now: float) -> PendingRequest | None:
        """Return the next request that may be sent now, or None. A fresh one probes a teacher that is doubted."""
        allow_fresh = bool(self.fresh) and teacher.allows_fresh(now)
        if allow_fresh and teacher.circuit_is_open:
            return self.fresh.popleft()
        if self._retries and self._retries[0][0] <= now:
            return heapq.heappop(self._retries)[2]
        if allow_fresh:
            return self.fresh.popleft()
        return None

    def put_back(self, request: PendingRequest) -> None:
        """Return a request that could not be sent after all; it goes first."""
        self.fresh.appendleft(request)

    def retry(self, request: PendingRequest, at: float) -> None:
        """Send a request again at a later time."""
        self._count += 1
        heapq.heappush(self._retries, (at, self._count, request))

    def next_retry(self) -> float | None:
        """Return when the next retry is due, or None."""
        return self._retries[0][0] if self._retries else None


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
        session.teacher = session.teacher.with_round()
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
        if (halt := before_call(self._teacher(), now)) is not None:
            if isinstance(halt, AwaitReplies):
                return FOREVER
            self._end(failures.ending(session.settings, halt))
            return 0.0
        if not queue and not self._tasks:
            return None
        if not queue or not session.limits.room(len(self._tasks)):
            return FOREVER
        if (delay := session.limits.delay(now)) > 0:
            return delay
        request = queue.take(session.teacher, now)
        if request is None:
            due = queue.next_retry()
            return min(PROBE_WAIT, max(0.001, due - now)) if due is not None else PROBE_WAIT
        reserved = session.limits.reserve(request.bound)
        if reserved is None:
            return self._wait_for_refund(request)
        session.teacher = session.teacher.with_call(request.row, now)
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
            self._leave(request, "RequestRejected", self._scrub(f"the question is no JSON text: {error}"))
            return
        call = session.calls.open(request.bound, reserved)
        try:
            await session.calls.intend(call)
            call.sent = True
            request.row = request.row.with_call(time.monotonic())
            reply, seconds = await self._send(body)
            self._conclude(request, call, reply, seconds)
        finally:
            session.calls.abandon(call)

    async def _send(self, body: bytes) -> tuple[Reply, float]:
        try:
            reply = await self._client.post(body)
        except TransportError as failure:
            return self._scrubbed(reply_of(failure)), 0.0
        return self._scrubbed(read_reply(reply.status, reply.headers, reply.body, time.time())), reply.seconds

    def _scrubbed(self, reply: Reply) -> Reply:
        """Return a reply whose message, which is shown and filed, does not hold the key."""
        return reply if isinstance(reply, Completed) else replace(reply, message=self._scrub(reply.message))

    def _conclude(self, request: PendingRequest, call: Call, reply: Reply, seconds: float) -> None:
        session, now = self._session, time.monotonic()
        if not isinstance(reply, RateLimited):
            session.limits.accepted(now)
        if isinstance(reply, Completed):
            self._file(request, call, reply, seconds, now)
            return
        self._settle_failure(request, call, reply)
        teacher = self._teacher()
        request.row = row = request.row.with_failure(reply, teacher, now, random.random())
        session.teacher = teacher = teacher.with_failure(row, now)
        if isinstance(reply, RateLimited):
            session.limits.throttled(now, pause_seconds(row, self._options))
        match after_failure(row, teacher, now):
            case Retry(at=at):
                self._queue.retry(request, at)
            case LeaveUnanswered(reason=reason, message=message):
                self._leave(request, reason, message)
            case TeacherDown() | TeacherRefuses() as end:
                self._end(failures.ending(session.settings, end))
            case decision:
                assert_never(decision)

    def _file(
        self, request: PendingRequest, call: Call, answer: Completed, seconds: float, now: float
    ) -> None:
        """Make a paid answer durable, then settle its call."""
        session = self._session
        top = session.settings.parameters.top_logprobs
        record = AnswerRecord.of(answer, request.key, call.name, top, seconds)
        self._answers.append(msgspec.json.encode(record))
        self._settle(call, answer.usage)
        self._results[request.key] = record
        session.teacher = session.teacher.with_answer(now)
        session.warner.note(answer)
        self._progress.done(failed=False)

    def _settle(self, call: Call, usage: Usage | None) -> None:
        session = self._session
        if usage is None:
            what = "the teacher does not say how many tokens it bills"
            session.warner.warn_once("usage", f"{what}: such calls count with the most they can cost")
        if session.calls.settle(call, usage) and session.limits.budget.limit is not None:
            what = "a call was billed more than its text and maxTokens allow"
            session.warner.warn_once("overrun", f"{what}: later calls reserve as much more")

    def _settle_failure(self, request: PendingRequest, call: Call, failure: CallFailure) -> None:
        if not isinstance(failure, Failed) or failure.billed == "no":
            self._session.calls.release(call)
            return
        self._session.calls.settle(call, failure.usage)
        if failure.usage is not None:
            before = request.usage or Usage()
            request.usage = Usage(
                before.prompt + failure.usage.prompt,
                before.cached + failure.usage.cached,
                before.completion + failure.usage.completion,
            )

    def _leave(self, request: PendingRequest, reason: UnansweredReason, message: str) -> None:
        """Leave a request without an answer."""
        self._results[request.key] = Unanswered(request.question, request.key, reason, message, request.usage)
        self._progress.done(failed=True)

    def _scrub(self, message: str) -> str:
        return self._client.scrub(message)

    def _teacher(self) -> TeacherHistory:
        """Return what is known of the teacher, beside the work that is there now."""
        return self._session.teacher.beside(len(self._tasks), fresh_left=bool(self._queue.fresh))

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


def reply_of(failure: TransportError) -> Reply:
    """Return what it means that no whole reply arrived; it was billed, perhaps, if the call was sent."""
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

"""What happened to a row and to its teacher: two frozen histories, on which `retry` judges. Pure.

A history only tells. `with_…` returns it with one more event; all times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from distillery.querying.answers import UnansweredReason
from distillery.querying.limits import EngineOptions
from distillery.querying.replies import AccessDenied, CallFailure, Failed, RateLimited, Rejected

OPEN_CIRCUIT = 8
"""Failures in a row before the teacher itself is doubted, at least; or as many calls as run at once, so that those
that were under way when one bad moment came do not open the circuit alone."""
PROBE_SECONDS = 1.0
"""Between probes, at most: a teacher that comes back is noticed within a second, at no cost worth naming."""
AWAY: frozenset[UnansweredReason] = frozenset({"ServerError", "ConnectionLost"})
"""What a teacher that is away does to every row, at no cost: it counts only if others were answered meanwhile."""
NEVER = float("-inf")
FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A failed try."""

    reason: UnansweredReason
    at: float
    others_answered: bool
    """Whether the teacher understood another call meanwhile: while this one was under way, or, as a teacher that is
    away says so at once, since the row failed before."""
    counts: bool
    """Whether it counts against the row: not what happens to all rows during an outage."""


@dataclass(frozen=True, slots=True)
class RowHistory:
    """What happened to one row so far."""

    row_id: str
    key: str
    """Names the question; a row may be asked several."""
    failures: tuple[RowFailure, ...] = ()
    sent_at: float = FOREVER
    """When its last call was sent."""
    reply: CallFailure | None = None
    """What its last call came to."""
    luck: float = 0.0
    """A random number in [0, 1) of that reply: it spreads tries over time, lest they all come at once."""

    @property
    def is_fresh(self) -> bool:
        """Whether it was never sent."""
        return self.sent_at == FOREVER

    @property
    def fails_alone(self) -> bool:
        """Whether others are answered while it fails, so that its failing shows nothing of the teacher.

        Once is enough if its call hung. If it was told at once that the teacher is away, only the second time is:
        others may have been answered long before the first.
        """
        alone = [failure.reason in AWAY for failure in self.failures if failure.others_answered]
        return not all(alone) or self.was_passed_over

    @property
    def was_passed_over(self) -> bool:
        """Whether it was told that the teacher is away, others were answered, and it was told so again."""
        return sum(failure.others_answered for failure in self._absences) > 1

    @property
    def away_since(self) -> float:
        """Since when the teacher is away for this row and, as far as is known, for every other."""
        since = FOREVER
        for failure in self._absences:
            since = failure.at if failure.others_answered else min(since, failure.at)
        return since

    @property
    def _absences(self) -> list[RowFailure]:
        return [failure for failure in self.failures if failure.reason in AWAY]

    def count(self, reason: UnansweredReason) -> int:
        """Return how many failures for this reason count against it."""
        return sum(failure.counts and failure.reason == reason for failure in self.failures)

    def with_call(self, now: float) -> RowHistory:
        """Add a call that is sent now."""
        return replace(self, sent_at=now)

    def with_failure(
        self, reply: CallFailure, teacher: TeacherHistory, now: float, luck: float
    ) -> RowHistory:
        """Add what a call came to, given what the teacher did before."""
        if not isinstance(reply, Failed):
            return replace(
                self, reply=reply, luck=luck
            )  # no failed try: it is judged at once, or asked again
        if reply.reason in AWAY:
            before = self.failures[-1].at if self.failures else NEVER
            others_answered = counts = teacher.responded_at > before
        else:
            others_answered = teacher.responded_at > self.sent_at
            # While the teacher is doubted it counts against nobody, as long as other rows can show whether rightly.
            counts = not (teacher.circuit_is_open and teacher.fresh_left)
        failure = RowFailure(reply.reason, now, others_answered, counts)
        return replace(self, failures=(*self.failures, failure), reply=reply, luck=luck)


@dataclass(frozen=True, slots=True)
class Streak:
    """Calls that failed one after the other, with nobody answered or turned down between."""

    calls: int = 0
    since: float = 0.0
    witnesses: frozenset[str] = frozenset()
    """Keys of the rows that failed, without those that fail alone."""
    message: str = ""
    """What the last one says."""


@dataclass(frozen=True, slots=True)
class TeacherHistory:
    """What is known of the teacher, over all rounds of one executor, and beside what work it is judged."""

    options: EngineOptions
    threshold: int = OPEN_CIRCUIT
    """So many failures in a row open the circuit."""
    answered: bool = False
    """Whether it ever answered such a question, now or before: then rejections are the rows' fault."""
    responded_at: float = NEVER
    """When it last understood a call, and answered it or turned it down."""
    streak: Streak = field(default_factory=Streak)
    """Failures since."""
    paused_until: float = NEVER
    """The end of the longest pause that it has asked for."""
    throttled_since: float | None = None
    """When it began to throttle calls; None after an answer."""
    rejected: int = 0
    """Rows that it found unacceptable."""
    denied: int = 0
    """Rows that it denied access in a row, without an answer between."""
    denial: AccessDenied | None = None
    """What the last of them was told."""
    denied_row: str = ""
    """Which that was."""
    probed_at: float = NEVER
    """When a fresh row was sent last."""
    under_way: int = 0
    """Calls under way now, the one that is judged included."""
    fresh_left: bool = False
    """Whether there are rows that were never sent, to probe the teacher with."""

    @classmethod
    def begin(cls, options: EngineOptions, concurrency: int) -> TeacherHistory:
        """Return the history of a teacher that nobody has asked yet."""
        return cls(options, max(OPEN_CIRCUIT, concurrency))

    @property
    def circuit_is_open(self) -> bool:
        """Whether the last `threshold` calls all failed."""
        return self.streak.calls >= self.threshold

    def allows_fresh(self, now: float) -> bool:
        """Return whether a row that was never sent may be: always, or as a probe once a second."""
        pause = min(PROBE_SECONDS, self.options.startup_seconds / 4)
        return not self.circuit_is_open or now - self.probed_at >= pause

    def beside(self, under_way: int, *, fresh_left: bool) -> TeacherHistory:
        """Return the history beside the work that is there now."""
        return replace(self, under_way=under_way, fresh_left=fresh_left)

    def with_round(self) -> TeacherHistory:
        """Begin a round: the time since the last one is no outage."""
        return replace(self, streak=Streak(), throttled_since=None)

    def with_trust(self) -> TeacherHistory:
        """Add that it is known to be there and to answer such questions, from the cache or from other workers."""
        return self if self.answered else replace(self, answered=True)

    def with_call(self, row: RowHistory, now: float) -> TeacherHistory:
        """Add a call about a row that is sent now."""
        return replace(self, probed_at=now) if row.is_fresh else self

    def with_answer(self, now: float) -> TeacherHistory:
        """Add an answered call."""
        return replace(self._with_response(now), answered=True, throttled_since=None, denied=0)

    def with_failure(self, row: RowHistory, now: float) -> TeacherHistory:
        """Add a failed call, after the row has it."""
        match row.reply:
            case Failed(message=message):
                last = self.streak
                witnesses = last.witnesses if row.fails_alone else last.witnesses | {row.key}
                since = last.since if last.calls else now
                return replace(self, streak=Streak(last.calls + 1, since, witnesses, message))
            case RateLimited():
                since = now if self.throttled_since is None else self.throttled_since
                until = max(self.paused_until, now + pause_seconds(row, self.options))
                return replace(self, throttled_since=since, paused_until=until)
            case Rejected():
                return replace(self._with_response(now), rejected=self.rejected + 1)
            case AccessDenied() as denial:
                history = self._with_response(now) if denial.of_row else self
                return replace(history, denied=self.denied + 1, denial=denial, denied_row=row.row_id)
            case None:
                return self
            case _:
                assert_never(row.reply)

    def _with_response(self, now: float) -> TeacherHistory:
        return replace(self, streak=Streak(), responded_at=now)


def pause_seconds(row: RowHistory, options: EngineOptions) -> float:
    """Return how long everybody pauses after a 429: as long as it asks for, and up to a tenth more.

    The tenth keeps the workers of a pool, which all hear of it, from coming back at the same moment.
    """
    wait = row.reply.wait if isinstance(row.reply, RateLimited) else None
    wait = options.backoff_seconds if wait is None else wait
    return min(wait, options.longest_pause_seconds) * (1 + 0.1 * row.luck)

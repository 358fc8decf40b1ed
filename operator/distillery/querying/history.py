"""What happened to a row and to its teacher: two frozen histories, on which `retry` judges. Pure.

A history only tells. `with_…` returns it with one more event; all times are seconds of one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from distillery.querying.answers import UnansweredReason
from distillery.querying.replies import AccessDenied, CallFailure, Failed, RateLimited, Rejected
from distillery.querying.settings import EngineOptions

OPEN_CIRCUIT = 8
"""Failures in a row before the teacher itself is doubted, at least; or as many calls as run at once, so that those
that were under way when one bad moment came do not open the circuit alone."""
PROBE_SECONDS = 1.0
"""Between probes, at most: a teacher that comes back is noticed within a second, at no cost worth naming."""
WITNESSES = 8
"""So many different rows have to fail before that is the teacher's fault: fewer may all be bad rows, which no
later attempt could answer either. More would cost rows at the end of a round, where no others can testify."""
AWAY: frozenset[UnansweredReason] = frozenset({"ServerError", "ConnectionLost"})
"""What a teacher that is away does to every row, at no cost: it counts only if others were answered meanwhile."""
NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class RowHistory:
    """What happened to one row so far."""

    row_id: str
    key: str
    """Names the question; a row may be asked several."""
    tries: int = 0
    """Failed calls."""
    counted: tuple[UnansweredReason, ...] = ()
    """Failures that count against the row: not what happens to all rows during an outage."""
    sent_at: float = float("inf")
    """When its last call was sent."""
    failed_at: float = NEVER
    """When it failed last."""
    away_since: float = float("inf")
    """Since when the teacher is away for this row and, as far as is known, for every other."""
    outlived: bool = False
    """Whether others were answered while a call of it took too long or came to nothing."""
    reply: CallFailure | None = None
    """What its last call came to."""
    luck: float = 0.0
    """A random number in [0, 1) of that reply: it spreads tries over time, lest they all come at once."""

    @property
    def is_fresh(self) -> bool:
        """Whether it was never sent."""
        return self.sent_at == float("inf")

    @property
    def is_suspect(self) -> bool:
        """Whether it failed, others were answered, and it failed again: that is no outage."""
        return sum(reason in AWAY for reason in self.counted) > 1

    def with_call(self, now: float) -> RowHistory:
        """Add a call that is sent now."""
        return replace(self, sent_at=now)

    def with_failure(
        self, reply: CallFailure, teacher: TeacherHistory, now: float, luck: float
    ) -> RowHistory:
        """Add what a call came to, given what the teacher did before."""
        row = replace(self, reply=reply, luck=luck)
        if not isinstance(reply, Failed):
            return row  # it is judged at once, or asked again: none of this is a failed try
        row = replace(row, tries=self.tries + 1, failed_at=now)
        if reply.reason not in AWAY:
            # While the teacher is doubted it counts against nobody, as long as other rows can show whether rightly.
            spared = teacher.circuit_is_open and teacher.fresh_left
            outlived = self.outlived or teacher.responded_at > self.sent_at
            return replace(
                row, outlived=outlived, counted=(*self.counted, *(() if spared else (reply.reason,)))
            )
        if teacher.responded_at > self.failed_at:
            return replace(row, counted=(*self.counted, reply.reason), away_since=now)
        return replace(row, away_since=min(self.away_since, now))


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
    failures: int = 0
    """Calls that failed since."""
    failing_since: float = 0.0
    """When these began."""
    witnesses: frozenset[str] = frozenset()
    """Keys of the rows that failed since, without those that fail while others are answered."""
    last_failure: str = ""
    paused_until: float = NEVER
    """A pause that the teacher asked for is no absence."""
    throttled_since: float | None = None
    """When it began to throttle calls; None after an answer."""
    rejected: int = 0
    """Rows that it found unacceptable."""
    denied: int = 0
    """Rows that it denied access in a row, without an answer between."""
    denial: AccessDenied | None = None
    """What the last of them says."""
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
        return self.failures >= self.threshold

    @property
    def patience(self) -> float:
        """How long the teacher may be away, in seconds: one that was never there, not for long."""
        return self.options.outage_seconds if self.answered else self.options.startup_seconds

    def beside(self, under_way: int, *, fresh_left: bool) -> TeacherHistory:
        """Return the history beside the work that is there now."""
        return replace(self, under_way=under_way, fresh_left=fresh_left)

    def with_round(self) -> TeacherHistory:
        """Begin a round: the time since the last one is no outage."""
        return replace(self, failures=0, witnesses=frozenset(), throttled_since=None)

    def with_trust(self) -> TeacherHistory:
        """Add that it is known to be there and to answer such questions, from the cache or from other workers."""
        return self if self.answered else replace(self, answered=True)

    def with_fresh_call(self, now: float) -> TeacherHistory:
        """Add that a fresh row is sent now."""
        return replace(self, probed_at=now)

    def with_answer(self, now: float) -> TeacherHistory:
        """Add an answered call."""
        return replace(self._with_response(now), answered=True, throttled_since=None, denied=0)

    def with_failure(self, row: RowHistory, now: float) -> TeacherHistory:
        """Add a failed call, after the row has it."""
        match row.reply:
            case Failed(message=message):
                is_witness = not (row.is_suspect or row.outlived)
                return replace(
                    self,
                    failures=self.failures + 1,
                    failing_since=self.failing_since if self.failures else now,
                    witnesses=self.witnesses | {row.key} if is_witness else self.witnesses,
                    last_failure=message,
                )
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
        return replace(self, failures=0, witnesses=frozenset(), responded_at=now)

    def allows_fresh(self, now: float) -> bool:
        """Return whether a row that was never sent may be: always, or as a probe once a second."""
        pause = min(PROBE_SECONDS, self.options.startup_seconds / 4)
        return not self.circuit_is_open or now - self.probed_at >= pause

    def absence(self, since: float, now: float) -> float:
        """Return how long it is away, in seconds, if it is so since then; pauses that it asked for do not count."""
        return now - max(since, self.paused_until)

    def is_down(self, now: float) -> bool:
        """Return whether enough different rows have failed for long enough, and nobody was answered.

        Not while more calls are under way than rows have failed: those may be answers that take their time.
        """
        enough = len(self.witnesses) >= max(WITNESSES, self.under_way)
        return enough and self.absence(self.failing_since, now) >= self.patience


def pause_seconds(row: RowHistory, options: EngineOptions) -> float:
    """Return how long everybody pauses after a 429: as long as it asks for, and up to a tenth more.

    The tenth keeps the workers of a pool, which all hear of it, from coming back at the same moment.
    """
    wait = row.reply.wait if isinstance(row.reply, RateLimited) else None
    wait = options.backoff_seconds if wait is None else wait
    return min(wait, options.longest_pause_seconds) * (1 + 0.1 * row.luck)

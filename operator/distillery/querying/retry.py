"""What follows from a failed call: is the teacher away, does it turn everybody down, or is it this row? Pure.

Two frozen histories say what happened, and an ordered list of named checks judges them: the first check with an opinion
decides, and the list is the specification. Whoever asks a teacher only carries out what they say. All times are seconds
of one monotonic clock.

    a call fails ──▶ RowHistory.with_failure ──▶ TeacherHistory.with_failure ──▶ after_failure: CHECKS
    before a call ─────────────────────────────────────────────────────────────▶ before_call: BEFORE_CALL

What makes it hard: a bad row and a teacher that is away look alike, one call at a time. They differ in who else fails.
So a failure counts against its row only if other rows were answered meanwhile, and against the teacher only if none
was. When too many calls in a row have failed, the circuit opens: fresh rows are held back, so that an outage does not
burn through all of them, and only probes go out. Any reply closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from distillery.querying.answers import Unanswered, UnansweredReason
from distillery.querying.history import AWAY, RowHistory, TeacherHistory
from distillery.querying.replies import AccessDenied, Failed, RateLimited, Rejected

WITNESSES = 8
"""So many different rows have to fail before that is the teacher's fault: fewer may all be bad rows, which no
later attempt could answer either. More would cost rows at the end of a round, where no others can testify."""
MAX_TRIES: dict[UnansweredReason, int] = {
    "ServerError": 8,
    "ConnectionLost": 8,
    "TimedOut": 3,
    "UnreadableReply": 3,
    "NoChoices": 3,
}
"""How often a row may fail for one reason. The first two cost nothing, and eight tries take a minute of back-off;
the last three may each have been billed."""
STARTUP_TRIES: dict[UnansweredReason, int] = {
    "TimedOut": 1,
    "UnreadableReply": 2,
    "NoChoices": 2,
}
"""The same while the teacher has never answered: then it is probably misconfigured, and every try may cost money."""
TEACHERS_FAULT: frozenset[str] = AWAY | {"TimedOut"}
"""Reasons that, once a round is over, say more about the teacher's day than about the row."""
REJECTED_LIMIT = 20
"""So many unacceptable rows, and not one accepted: it is not the rows. Unacceptable rows are common (too long, for
example) and cost nothing, hence more than below."""
DENIED_LIMIT = 8
"""So many rows in a row that are denied as all would be, without an answer between: it is not the rows. A gateway that
moderates turns away few texts in a row; a key that has expired, all."""
TRIED_ROWS = 3
"""A trial row may be one that no teacher answers; if three are, it is the teacher or how it is asked."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask about this row again, not before `at`."""

    at: float


@dataclass(frozen=True, slots=True)
class LeaveUnanswered:
    """The row stays without an answer: it is data."""

    reason: UnansweredReason
    message: str


@dataclass(frozen=True, slots=True)
class TeacherDown:
    """The teacher has been away for `seconds`: a later attempt may find it."""

    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class TeacherRefuses:
    """The teacher turns everybody down, and the user must act. `status` is None if it is for what is asked."""

    row_id: str
    message: str
    status: int | None = None


@dataclass(frozen=True, slots=True)
class AwaitReplies:
    """Send nothing before the calls under way have come back: they will show whether the teacher is to be had."""


AfterFailure = Retry | LeaveUnanswered | TeacherDown | TeacherRefuses
BeforeCall = AwaitReplies | TeacherDown | TeacherRefuses


Check = Callable[[RowHistory, TeacherHistory, float], AfterFailure | None]


def access_is_denied_to_all(row: RowHistory, _: TeacherHistory, __: float) -> AfterFailure | None:
    """Wrong key, no money left, wrong address: no later call would fare better."""
    reply = row.reply
    if not isinstance(reply, AccessDenied) or reply.of_row:
        return None
    return _refuses(row.row_id, reply)


def every_row_is_rejected(row: RowHistory, teacher: TeacherHistory, _: float) -> AfterFailure | None:
    """Many rows were found unacceptable and none was ever accepted: it is what all of them have in common."""
    reply = row.reply
    if not isinstance(reply, Rejected) or teacher.answered or teacher.rejected < REJECTED_LIMIT:
        return None
    return TeacherRefuses(row.row_id, reply.message)


def teacher_throttles_for_ever(row: RowHistory, teacher: TeacherHistory, now: float) -> AfterFailure | None:
    """Nothing but 429 for too long: no pace is slow enough."""
    reply, since = row.reply, teacher.throttled_since
    if not isinstance(reply, RateLimited) or since is None:
        return None
    seconds = now - since
    return TeacherDown(seconds, reply.message) if seconds > teacher.options.rate_limited_seconds else None


def teacher_is_away(_: RowHistory, teacher: TeacherHistory, now: float) -> AfterFailure | None:
    """Many different rows have failed for long enough, and nobody was answered."""
    return _outage(teacher, now)


def row_is_turned_away(row: RowHistory, _: TeacherHistory, __: float) -> AfterFailure | None:
    """The teacher has understood this row and will not have it; asking again would not help."""
    match row.reply:
        case Rejected(reason=reason, message=message):
            return LeaveUnanswered(reason, message)
        case AccessDenied(message=message):
            return LeaveUnanswered("RequestRejected", message)
        case _:
            return None


def row_was_throttled(row: RowHistory, _: TeacherHistory, now: float) -> AfterFailure | None:
    """Everybody pauses as the teacher asks; this row is due already, so that it goes first afterwards."""
    return Retry(now) if isinstance(row.reply, RateLimited) else None


def row_has_failed_too_often(row: RowHistory, teacher: TeacherHistory, _: float) -> AfterFailure | None:
    """It has failed as often as it may for one reason, not counting what was no fault of it."""
    most = MAX_TRIES if teacher.answered else MAX_TRIES | STARTUP_TRIES
    return _leave(row) if any(row.count(reason) >= most[reason] for reason in most) else None


def row_fails_while_others_are_answered(
    row: RowHistory, teacher: TeacherHistory, now: float
) -> AfterFailure | None:
    """It was tried as long as an outage may last, and others were answered between: it is the row."""
    return _leave(row) if row.was_passed_over and _is_over(row.away_since, teacher, now) else None


def nobody_can_tell_whose_fault_it_is(
    row: RowHistory, teacher: TeacherHistory, now: float
) -> AfterFailure | None:
    """It was tried as long as an outage may last, and too few rows are left to show whether it is the teacher."""
    if teacher.fresh_left or len(teacher.streak.witnesses) >= WITNESSES:
        return None
    return _leave(row) if _is_over(row.away_since, teacher, now) else None


def row_may_be_answered_later(row: RowHistory, teacher: TeacherHistory, now: float) -> AfterFailure | None:
    """Try again, after a pause that grows."""
    options = teacher.options
    return Retry(
        now + backoff(len(row.failures), options.backoff_seconds, options.longest_backoff_seconds, row.luck)
    )


CHECKS: tuple[Check, ...] = (
    access_is_denied_to_all,  # first what ends the round: it spares the other rows
    every_row_is_rejected,
    teacher_throttles_for_ever,
    teacher_is_away,
    row_is_turned_away,
    row_was_throttled,
    row_has_failed_too_often,
    row_fails_while_others_are_answered,
    nobody_can_tell_whose_fault_it_is,
    row_may_be_answered_later,
)


def after_failure(row: RowHistory, teacher: TeacherHistory, now: float) -> AfterFailure:
    """Return what to do after a failed call that both histories have."""
    for check in CHECKS:
        if (decision := check(row, teacher, now)) is not None:
            return decision
    raise AssertionError("the last check always has an opinion")


def access_seems_denied_to_all(teacher: TeacherHistory, _: float) -> BeforeCall | None:
    """Rows were turned away one after the other as all would be.

    Such replies are quick: answers that take their time may still show that others are let in.
    """
    if teacher.denial is None or teacher.denied < DENIED_LIMIT:
        return None
    return AwaitReplies() if teacher.under_way else _refuses(teacher.denied_row, teacher.denial)


def probes_are_in_vain(teacher: TeacherHistory, now: float) -> BeforeCall | None:
    """The teacher has become too long away. Without fresh rows as probes, each row is tried once more instead."""
    return _outage(teacher, now) if teacher.fresh_left else None


BEFORE_CALL: tuple[Callable[[TeacherHistory, float], BeforeCall | None], ...] = (
    access_seems_denied_to_all,
    probes_are_in_vain,
)


def before_call(teacher: TeacherHistory, now: float) -> BeforeCall | None:
    """Return what keeps the next call from being sent, as far as the teacher is concerned; None: nothing."""
    for check in BEFORE_CALL:
        if (decision := check(teacher, now)) is not None:
            return decision
    return None


def after_round(teacher: TeacherHistory) -> TeacherRefuses | None:
    """Return what the stage ends with although each row has its outcome: denied access, and never an answer."""
    denial = teacher.denial
    return None if teacher.answered or denial is None else _refuses(teacher.denied_row, denial)


def after_trial(tried: Sequence[Unanswered], left: int) -> TeacherDown | TeacherRefuses | None:
    """Judge a teacher by rows that were asked one by one and stayed unanswered; `left` more could be.

    Returns: None: ask one more, for it may have been the row.
    """
    last = tried[-1]
    if last.reason in AWAY:
        return TeacherDown(0.0, last.message)
    if left and len(tried) < TRIED_ROWS:
        return None
    return TeacherRefuses(last.question.row_id, last.message)


def lost_to_teacher(reasons: Iterable[str | None]) -> list[str]:
    """Return those reasons of unanswered rows that speak of the teacher's day; they may be gone tomorrow."""
    return [reason for reason in reasons if reason in TEACHERS_FAULT]


def teacher_is_to_blame(reasons: Sequence[str]) -> bool:
    """Return whether most unanswered rows are so because of the teacher: then another attempt may help."""
    return 2 * len(lost_to_teacher(reasons)) > len(reasons)


def backoff(failures: int, base: float, cap: float, luck: float) -> float:
    """Return the seconds before the next try: exponential, with full jitter over the upper half.

    `luck` is a random number in [0, 1); half of the delay is fixed so that retries never come at once.
    """
    delay: float = min(cap, base * 2 ** min(failures - 1, 30))
    return delay * (0.5 + 0.5 * luck)


def _outage(teacher: TeacherHistory, now: float) -> TeacherDown | None:
    """Say so if enough different rows have failed for long enough.

    Not while more calls are under way than rows have failed: those may be answers that take their time.
    """
    streak = teacher.streak
    enough = len(streak.witnesses) >= max(WITNESSES, teacher.under_way)
    if not (enough and _is_over(streak.since, teacher, now)):
        return None
    return TeacherDown(now - streak.since, streak.message)


def _is_over(since: float, teacher: TeacherHistory, now: float) -> bool:
    """Return whether the teacher, if it is away since then, has been so too long: one that was never there, sooner.

    A pause that it asked for is no absence.
    """
    patience = teacher.options.outage_seconds if teacher.answered else teacher.options.startup_seconds
    return now - max(since, teacher.paused_until) >= patience


def _leave(row: RowHistory) -> LeaveUnanswered | None:
    """Leave a row for what its last call came to."""
    reply = row.reply
    return LeaveUnanswered(reply.reason, reply.message) if isinstance(reply, Failed) else None


def _refuses(row_id: str, denial: AccessDenied) -> TeacherRefuses:
    return TeacherRefuses(row_id, denial.message, denial.status)

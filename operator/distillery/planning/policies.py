"""The policies: an ordered list of named checks. The first with an opinion decides; the list is the specification."""

from __future__ import annotations

from collections.abc import Callable

from distillery.api.v1alpha1.conditions import Reason
from distillery.planning.decision import Cancel, Decision, Finish, Submit, Wait
from distillery.planning.failures import FINAL, MOST_FAILURES, finish_for
from distillery.planning.situation import Situation

TEACHER_STAGES = ("dataset", "teacher", "evaluation")
"""Stages that may spend money on the teacher."""

Check = Callable[[Situation], Decision | None]


def stale_attempt_is_live(situation: Situation) -> Decision | None:
    """Something runs that no longer belongs to the plan: an edit changed its identity, or its stage is committed."""
    for attempt in situation.live:
        if not situation.frontier.covers(attempt):
            message = f"{attempt.stage} attempt {attempt.number} no longer belongs to the plan"
            return situation.stop(attempt, Reason.SUPERSEDED, message)
    return None


def all_stages_are_committed(situation: Situation) -> Decision | None:
    """Nothing is left to run: the evaluation's verdict is the end."""
    if situation.frontier.run is not None:
        return None
    last = situation.frontier.done[-1] if situation.frontier.done else None
    if last is None or last.stage != "evaluation":
        return Finish("complete", Reason.COMPLETE, "every stage that was asked for is committed")
    verdict = last.summary.get("verdict")
    if verdict == "passed":
        return Finish("complete", Reason.GATES_PASSED, "every gate has passed")
    return Finish("gatesFailed", Reason.GATE_FAILED, f"the evaluation's verdict is {verdict}")


def job_is_cancelled(situation: Situation) -> Decision | None:
    """Somebody cancelled it."""
    if not situation.observed.control.cancelled:
        return None
    message = "cancelled on request; a retry request starts it again"
    return situation.end(Finish("cancelled", Reason.CANCELLED, message))


def deadline_has_passed_at_work(situation: Situation) -> Decision | None:
    """`activeDeadlineSeconds` are over since this generation began, or the last request to go on: what runs stops."""
    return deadline_has_passed(situation) if situation.live else None


def deadline_has_passed(situation: Situation) -> Decision | None:
    """Nothing starts after the deadline either; what has ended the job or waits for a person goes before."""
    deadline = situation.deadline
    if deadline is None or situation.now < deadline:
        return None
    message = f"activeDeadlineSeconds ({situation.plan.deadline_seconds}) have passed"
    return situation.end(Finish("failed", Reason.DEADLINE_EXCEEDED, message))


def gpu_hours_are_used_up(situation: Situation) -> Decision | None:
    """`budget.maxGPUHours` are spent."""
    most = situation.plan.budget.max_gpu_hours
    used = situation.observed.gpu_seconds / 3600
    if most is None or used < most:
        return None
    message = f"{used:.2f} GPU hours are used, budget.maxGPUHours is {most}: raise it to go on"
    return situation.end(Finish("budget", Reason.GPU_HOURS_REACHED, message))


def job_is_suspended(situation: Situation) -> Decision | None:
    """Somebody suspended it: what runs saves its state and stops."""
    if not situation.observed.control.suspended:
        return None
    message = "suspended on request; a resume request goes on from the last checkpoint"
    for attempt in situation.live:
        return situation.stop(attempt, Reason.SUSPENDED, message)
    return Wait(Reason.SUSPENDED, message)


def budget_was_lowered(situation: Situation) -> Decision | None:
    """A running stage was started with a higher limit than the spec now has: it starts again with the new one."""
    limit = situation.max_cost_micro
    if limit is None:
        return None
    for attempt in situation.live:
        allowed = attempt.max_cost_micro
        if attempt.stage in TEACHER_STAGES and (allowed is None or allowed > limit):
            return situation.stop(
                attempt, Reason.BUDGET_LOWERED, "budget.maxCost is now lower than when it began"
            )
    return None


def attempt_is_outdated(situation: Situation) -> Decision | None:
    """An attempt has not begun its work, and its pods would be made otherwise now: nothing is lost by replacing it."""
    for attempt in situation.live:
        wanted = situation.observed.shapes.get(attempt.stage)
        if attempt.report is None and attempt.shape and wanted not in (None, attempt.shape):
            message = f"{attempt.stage} attempt {attempt.number} has not begun, and its pods were edited"
            return situation.stop(attempt, Reason.SUPERSEDED, message)
    return None


def attempt_is_silent(situation: Situation) -> Decision | None:
    """The worker has not been heard for too long, or its pods never came up."""
    patience = situation.observed.patience
    for attempt in situation.live:
        if attempt.stop_requested:
            continue
        if _is_over(attempt.heard_at, patience.heartbeat, situation.now):
            message = (
                f"no heartbeat of {attempt.stage} attempt {attempt.number} for {patience.heartbeat:.0f} s"
            )
            return Cancel(attempt, Reason.HEARTBEAT_LOST, message)
        if attempt.report is None and _is_over(attempt.pending_since, patience.pending, situation.now):
            message = (
                f"{attempt.stage} attempt {attempt.number} did not start within {patience.pending:.0f} s"
            )
            return Cancel(
                attempt, Reason.PENDING_TOO_LONG, f"{message}: {attempt.trouble}".removesuffix(": ")
            )
    return None


def attempt_is_live(situation: Situation) -> Decision | None:
    """The next stage is at work: never start a second attempt beside it."""
    if not situation.live:
        return None
    attempt = situation.live[0]
    name = f"{attempt.stage} attempt {attempt.number}"
    if attempt.stop_requested:
        return Wait(Reason.STOPPING, f"waiting for {name} to stop")
    cleaning = situation.cleaning_up(attempt)
    if cleaning is not None:
        return cleaning
    if attempt.trouble and not attempt.at_work:
        return Wait(Reason.WAITING_FOR_PODS, f"{name}: {attempt.trouble}", situation.deadline)
    beside = f"; {attempt.trouble}" if attempt.trouble else ""
    return Wait(Reason.STAGE_RUNNING, f"{name} is running{beside}", situation.deadline)


def review_is_pending(situation: Situation) -> Decision | None:
    """`filter.review.required`, and nobody has approved this filter artifact yet."""
    frontier = situation.frontier
    if not situation.plan.review_required or frontier.run is None or frontier.run.stage != "student":
        return None
    kept = next(outcome for outcome in frontier.done if outcome.stage == "filter")
    if situation.observed.control.approved == kept.identity:
        return None
    sample = situation.plan.address(kept, "review.jsonl")
    message = f"look at {sample}, then set the annotation distillery.dev/approve-review: {kept.identity}"
    return Wait(Reason.REVIEW_PENDING, message)


def failure_is_final(situation: Situation) -> Decision | None:
    """A user error, the budget or the pilot stopped the stage: another try would end the same way."""
    for attempt, failure in situation.failures:
        if failure.failure_class in FINAL:
            return finish_for(failure, f"{attempt.stage}: {failure.message}")
    return None


def stage_failed_too_often(situation: Situation) -> Decision | None:
    """Retrying has not helped. Preemptions are counted apart, since they are nobody's fault."""
    for kind, most in MOST_FAILURES.items():
        found = [
            (attempt, failure) for attempt, failure in situation.failures if failure.failure_class == kind
        ]
        if len(found) >= most:
            attempt, failure = found[-1]
            message = f"{attempt.stage} failed {len(found)} times, last: {failure.message}"
            return Finish("failed", failure.reason, message)
    return None


def attempt_backs_off(situation: Situation) -> Decision | None:
    """The last try failed a moment ago."""
    failures = situation.failures
    if not failures:
        return None
    attempt, failure = failures[-1]
    pauses = situation.observed.patience.pauses
    pause = pauses[min(len(failures), len(pauses)) - 1]
    until = (attempt.ended_at or attempt.started_at) + pause
    if situation.now >= until:
        return None
    return Wait(
        Reason.BACKING_OFF, f"retrying {attempt.stage} after {failure.reason}: {failure.message}", until
    )


def attempt_was_not_created(situation: Situation) -> Decision | None:
    """The last attempt is in the record, but a crash came before its creation: create it now, under its own name."""
    frontier = situation.frontier
    assert frontier.run is not None
    for attempt in situation.observed.attempts_of(frontier.run.stage):
        if not attempt.created and attempt.ended_at is None and frontier.covers(attempt):
            return Submit(frontier.submission(), frontier.identity, attempt.number)
    return None


def next_stage_is_ready(situation: Situation) -> Decision | None:
    """Start the next attempt; numbers only grow, over all attempts of the stage."""
    frontier = situation.frontier
    assert frontier.run is not None
    numbers = [a.number for a in situation.observed.attempts if a.stage == frontier.run.stage]
    return Submit(frontier.submission(), frontier.identity, max(numbers, default=0) + 1)


def _is_over(since: float | None, limit: float | None, now: float) -> bool:
    return since is not None and limit is not None and now - since > limit


CHECKS: tuple[Check, ...] = (
    stale_attempt_is_live,  # never two attempts
    all_stages_are_committed,
    job_is_cancelled,
    job_is_suspended,
    deadline_has_passed_at_work,
    gpu_hours_are_used_up,
    budget_was_lowered,
    attempt_is_outdated,
    attempt_is_silent,
    attempt_is_live,
    failure_is_final,
    review_is_pending,
    stage_failed_too_often,
    deadline_has_passed,
    attempt_backs_off,
    attempt_was_not_created,
    next_stage_is_ready,
)

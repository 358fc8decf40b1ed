"""The policies: an ordered list of named checks. The first with an opinion decides; the list is the specification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distillery.errors import FailureClass
from distillery.planning.decision import Cancel, Decision, Ending, Finish, Submit, Wait
from distillery.planning.frontier import Frontier
from distillery.planning.observed import Attempt, Observed
from distillery.stages.report import Failure

MAX_INFRASTRUCTURE_FAILURES = 5
BACKOFF_SECONDS = (0.0, 2.0, 8.0, 30.0, 60.0)
LOST = Failure(
    failure_class="infrastructure", reason="AttemptLost", message="the attempt ended without a result"
)
MISSING = Failure(
    failure_class="infrastructure",
    reason="ResultMissing",
    message="the attempt reported success, but its artifact is not there",
)
ENDINGS: dict[FailureClass, Ending] = {"user": "failed", "budget": "budget", "pilot": "pilot"}


@dataclass(frozen=True, slots=True)
class Situation:
    """What every check may look at."""

    frontier: Frontier
    observed: Observed
    now: float

    @property
    def live(self) -> tuple[Attempt, ...]:
        """Attempts of any stage that may still be running."""
        return tuple(attempt for attempt in self.observed.attempts if attempt.live)

    @property
    def failures(self) -> tuple[tuple[Attempt, Failure], ...]:
        """Ended attempts on what is next that count, with why they failed; a requested stop is no failure."""
        if self.frontier.run is None:
            return ()
        counted = []
        for attempt in self.observed.attempts_of(self.frontier.run.stage):
            if attempt.live or not self.frontier.covers(attempt):
                continue
            if attempt.started_at < self.observed.forgiven_before:
                continue
            failure = _failure_of(attempt)
            if failure is not None:
                counted.append((attempt, failure))
        return tuple(counted)


def _failure_of(attempt: Attempt) -> Failure | None:
    """Say why an ended attempt left no artifact; None for one that stopped because it was asked to."""
    if attempt.report is None:
        return LOST
    match attempt.report.state:
        case "stopped":
            return None
        case "succeeded":
            return MISSING
        case "failed" | "running":
            return attempt.report.failure or LOST


def finish_for(failure: Failure, message: str) -> Finish:
    """Return the end to which a failure leads when it is not retried."""
    ending: Ending = (
        "invalid" if failure.reason == "InvalidInput" else ENDINGS.get(failure.failure_class, "failed")
    )
    return Finish(ending, failure.reason, message)


Check = Callable[[Situation], Decision | None]


def stale_attempt_is_live(situation: Situation) -> Decision | None:
    """Something runs that no longer belongs to the plan: an edit changed its identity, or its stage is committed."""
    for attempt in situation.live:
        if situation.frontier.covers(attempt):
            continue
        if attempt.stop_requested:
            return Wait("Stopping", f"waiting for {attempt.stage} attempt {attempt.number} to stop")
        message = f"{attempt.stage} attempt {attempt.number} no longer belongs to the plan"
        return Cancel(attempt, "Superseded", message)
    return None


def all_stages_are_committed(situation: Situation) -> Decision | None:
    """Nothing is left to run: the evaluation's verdict is the end."""
    if situation.frontier.run is not None:
        return None
    verdict = situation.frontier.done[-1].summary.get("verdict") if situation.frontier.done else None
    if verdict == "passed":
        return Finish("complete", "GatesPassed", "every gate has passed")
    if verdict is None:
        return Finish("complete", "Complete", "every stage that was asked for is committed")
    return Finish("gatesFailed", "GateFailed", f"the evaluation's verdict is {verdict}")


def attempt_is_live(situation: Situation) -> Decision | None:
    """The next stage is at work: never start a second attempt beside it."""
    if not situation.live:
        return None
    attempt = situation.live[0]
    return Wait("StageRunning", f"{attempt.stage} attempt {attempt.number} is running")


def failure_is_final(situation: Situation) -> Decision | None:
    """A user error, the budget or the pilot stopped the stage: another try would end the same way."""
    for attempt, failure in situation.failures:
        if failure.failure_class in ENDINGS:
            return finish_for(failure, f"{attempt.stage}: {failure.message}")
    return None


def infrastructure_failed_too_often(situation: Situation) -> Decision | None:
    """Retrying has not helped."""
    failures = situation.failures
    if len(failures) < MAX_INFRASTRUCTURE_FAILURES:
        return None
    attempt, failure = failures[-1]
    message = f"{attempt.stage} failed {len(failures)} times, last: {failure.message}"
    return Finish("failed", failure.reason, message)


def attempt_backs_off(situation: Situation) -> Decision | None:
    """The last try failed a moment ago."""
    failures = situation.failures
    if not failures:
        return None
    attempt, failure = failures[-1]
    pause = BACKOFF_SECONDS[min(len(failures), len(BACKOFF_SECONDS)) - 1]
    until = (attempt.ended_at or attempt.started_at) + pause
    if situation.now >= until:
        return None
    return Wait("BackingOff", f"retrying {attempt.stage} after {failure.reason}: {failure.message}", until)


def next_stage_is_ready(situation: Situation) -> Decision | None:
    """Start the next attempt; numbers only grow, over all attempts of the stage."""
    frontier = situation.frontier
    assert frontier.run is not None
    numbers = [a.number for a in situation.observed.attempts if a.stage == frontier.run.stage]
    return Submit(frontier.submission(), frontier.identity, max(numbers, default=0) + 1)


CHECKS: tuple[Check, ...] = (
    stale_attempt_is_live,  # never two attempts
    all_stages_are_committed,
    attempt_is_live,
    failure_is_final,
    infrastructure_failed_too_often,
    attempt_backs_off,
    next_stage_is_ready,
)

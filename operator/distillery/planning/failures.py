"""What a failed attempt means: which failures end a job, which are retried, how often and after what pause. Pure."""

from __future__ import annotations

from distillery.api.v1alpha1.conditions import Reason
from distillery.errors import FailureClass
from distillery.planning.decision import Ending, Finish
from distillery.planning.observed import Attempt
from distillery.stages.report import Failure

MAX_INFRASTRUCTURE_FAILURES = 5
MOST_FAILURES: dict[FailureClass, int] = {"infrastructure": MAX_INFRASTRUCTURE_FAILURES, "preemption": 20}
FINAL: dict[FailureClass, Ending] = {"user": "failed", "budget": "budget", "pilot": "pilot"}
WATCHDOGS = frozenset({Reason.HEARTBEAT_LOST, Reason.PENDING_TOO_LONG})
"""Reasons of a stop that count as failures of the attempt; every other stop was asked for."""

LOST = Failure(
    failure_class="infrastructure", reason=Reason.ATTEMPT_LOST, message="the attempt ended without a result"
)
MISSING = Failure(
    failure_class="infrastructure",
    reason=Reason.RESULT_MISSING,
    message="the attempt reported success, but its artifact is not there",
)


def failure_of(attempt: Attempt) -> Failure | None:
    """Say why an ended attempt left no artifact; None for one that stopped because it was asked to."""
    if attempt.stop_requested and attempt.stop_reason not in WATCHDOGS:
        return None
    report, shown = attempt.report, attempt.failure
    if report is not None and report.failure is not None:
        vague = report.failure.failure_class == "infrastructure"
        # The worker saw that somebody was gone; the cluster shows why.
        return shown if vague and shown is not None and _explains(shown) else report.failure
    if report is not None and report.state == "stopped" and not attempt.stop_requested:
        return shown
    if shown is not None:
        return shown
    return MISSING if report is not None and report.state == "succeeded" else LOST


def _explains(failure: Failure) -> bool:
    return failure.failure_class == "preemption" or failure.reason == Reason.OUT_OF_MEMORY


def finish_for(failure: Failure, message: str) -> Finish:
    """Return the end to which a failure leads when it is not retried."""
    ending: Ending = (
        "invalid" if failure.reason == Reason.INVALID_INPUT else FINAL.get(failure.failure_class, "failed")
    )
    return Finish(ending, failure.reason, message)

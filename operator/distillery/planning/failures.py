"""What a failed attempt means: which failures end a job, which are retried, how often and after what pause. Pure."""

from __future__ import annotations

import re

from distillery.api.v1alpha1.conditions import Reason
from distillery.errors import FailureClass
from distillery.planning.decision import Ending, Finish
from distillery.planning.observed import Attempt
from distillery.planning.record import AttemptRecord, Needs
from distillery.stages.assignment import UNUSABLE_STATUS
from distillery.stages.report import Failure, Report

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


_EXIT_STATUS = re.compile(r"failed with exit code (\d+)")
"""How Ray words the end of a job's process; KubeRay hands it on as the RayJob's message."""


def worker_refusal(entry: AttemptRecord, report: Report | None, words: str) -> Failure | None:
    """Return that a worker refused its assignment, if it did: it said so, or ended without a word.

    An assignment that needs more than the first workers know is refused by those that are too old for it, unless its
    file was not there. Args: `words` is why the RayJob failed, if it did.
    """
    said = (
        report is not None and report.failure is not None and report.failure.reason == Reason.WORKER_TOO_OLD
    )
    status = _EXIT_STATUS.search(words)
    silent = report is None and status is not None and int(status[1]) == UNUSABLE_STATUS
    if entry.needs is not None and (said or (silent and "[Errno" not in words)):
        return _too_old(entry.needs)
    if not silent:
        return None
    message = f"a worker could not use its assignment: {words}"
    return Failure(failure_class="infrastructure", reason=Reason.ASSIGNMENT_UNUSABLE, message=message)


def _too_old(needs: Needs) -> Failure:
    where, repair = "the operator's own choice", "set the chart's workerImage"
    if needs.profile is not None:
        where, repair = f"from profile {needs.profile}", f"set spec.image of profile {needs.profile}"
    message = f"the worker image {needs.image} ({where}) is older than what this job uses"
    return Failure(
        failure_class="user",
        reason=Reason.WORKER_TOO_OLD,
        message=f"{message} → {repair} to that of release {needs.release} or newer, then retry",
    )


def failure_of(attempt: Attempt) -> Failure | None:
    """Say why an ended attempt left no artifact; None for one that stopped because it was asked to."""
    if attempt.stop_requested and attempt.stop_reason not in WATCHDOGS:
        return None
    report, shown = attempt.report, attempt.failure
    if report is not None and report.failure is not None:
        vague = report.failure.failure_class == "infrastructure"
        # The worker saw that somebody was gone; the cluster shows why. What image it is the record knows.
        if shown is not None and (shown.reason == Reason.WORKER_TOO_OLD or (vague and _explains(shown))):
            return shown
        return report.failure
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

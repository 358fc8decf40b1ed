"""Two statuses → what has happened between them, for Events and metrics: transitions only, never repetition. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distillery.api.v1alpha1.conditions import ConditionType, Reason, find_condition
from distillery.api.v1alpha1.status import StageStatus, Status


@dataclass(frozen=True, slots=True)
class Transition:
    """One thing worth telling. `kind` is that of a Kubernetes Event."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


QUIET = frozenset({Reason.RUNNING, Reason.STAGE_RUNNING, Reason.CLEANING_UP, Reason.STOPPING})
"""Reasons of Reconciling that the stages' own transitions tell better."""


def transitions(before: Status, after: Status) -> list[Transition]:
    """Return what changed, in the order in which a reader wants it: stages first, then the job."""
    old = {stage.name: stage for stage in before.stages}
    found = [told for stage in after.stages if (told := _stage(old.get(stage.name), stage)) is not None]
    job = _job(before, after)
    return [*found, *([job] if job is not None else [])]


def _stage(before: StageStatus | None, after: StageStatus) -> Transition | None:
    was = (before.state, before.attempt, before.identity) if before else ("Pending", 0, None)
    if (after.state, after.attempt) == was[:2]:
        return None
    name = f"{after.name} attempt {after.attempt}"
    match after.state:
        case "Running":
            return Transition("Normal", "StageStarted", f"{name} started")
        case "Succeeded" if was[0] == "Succeeded" and was[2] == after.identity:
            return None
        case "Succeeded":
            how = "found in the store" if after.reused else f"committed by attempt {after.attempt}"
            return Transition("Normal", "StageSucceeded", f"{after.name} {(after.identity or '')[:12]} {how}")
        case "Failed":
            return Transition("Warning", "StageFailed", f"{name} failed")
        case "Stopped":
            return Transition("Normal", "StageStopped", f"{name} stopped")
        case _:
            return None


def _job(before: Status, after: Status) -> Transition | None:
    now = find_condition(after.conditions, ConditionType.RECONCILING)
    was = find_condition(before.conditions, ConditionType.RECONCILING)
    if now is None or now.reason in QUIET or (was is not None and was.reason == now.reason):
        return None
    stalled = find_condition(after.conditions, ConditionType.STALLED)
    warning = (stalled is not None and stalled.status == "True") or now.reason in WARNINGS
    return Transition("Warning" if warning else "Normal", now.reason, now.message)


WARNINGS = frozenset(
    {
        Reason.BACKING_OFF,
        Reason.WAITING_FOR_PODS,
        Reason.PROFILE_MISSING,
        Reason.NOT_SUBMITTED,
        Reason.RECONCILE_ERROR,
        Reason.RELEASE_NOT_PUBLISHED,
        Reason.RECORD_DAMAGED,
        Reason.INTERNAL_ERROR,
    }
)
"""Reasons that delay a job without ending it."""

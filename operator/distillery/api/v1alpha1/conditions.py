"""Condition types and reasons: the only spelling of each, and how conditions keep their times. Pure.

Types follow kstatus, so that kubectl, Argo CD and Flux understand them: while work goes on Reconciling is
True; a good end is Ready True and Complete True; a bad end is Ready False, Stalled True and Failed True with the
same reason. Suspended and ReviewPending stand beside Reconciling True.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, StringConstraints

from distillery.api.base import StatusModel

MAX_MESSAGE = 1024
"""Characters of a message in the status, which as a whole stays below 16 KiB."""


def shorten(value: object) -> object:
    """Cut a string to MAX_MESSAGE characters: a long message must never make a status impossible to write."""
    if isinstance(value, str) and len(value) > MAX_MESSAGE:
        return value[: MAX_MESSAGE - 1] + "…"
    return value


Message = Annotated[str, BeforeValidator(shorten), StringConstraints(max_length=MAX_MESSAGE)]
Timestamp = Annotated[str, StringConstraints(max_length=64)]
"""RFC 3339 in UTC, for example `2026-11-03T12:30:00Z`."""


class ConditionType(StrEnum):
    """Types of conditions."""

    READY = "Ready"
    """True only after a passing verdict."""
    RECONCILING = "Reconciling"
    """True while work goes on or waits."""
    STALLED = "Stalled"
    """True when nothing will move before somebody edits the object."""
    COMPLETE = "Complete"
    """True when all stages have ended and all gates have passed, as in batch/v1."""
    FAILED = "Failed"
    """True after a bad end, as in batch/v1."""
    SUSPENDED = "Suspended"
    """True while the job is suspended, as in batch/v1."""
    REVIEW_PENDING = "ReviewPending"
    """True while the filter's required review waits for an approval."""


class Reason(StrEnum):
    """Reasons of conditions. Stages may add their own CamelCase reason when they fail."""

    PENDING = "Pending"
    """Nothing has started."""
    RUNNING = "Running"
    """A stage is at work."""
    RETRYING = "Retrying"
    """The last attempt failed for a reason outside; the next one follows."""
    INTERRUPTED = "Interrupted"
    """The run was stopped in an orderly way and can be resumed."""
    SUSPENDED = "Suspended"
    """Suspended on request."""
    CANCELLED = "Cancelled"
    """Cancelled on request."""
    REVIEW_PENDING = "ReviewPending"
    """The filter's review sample waits for an approval."""
    GATES_PASSED = "GatesPassed"
    """All stages are done, all gates passed."""
    GATES_FAILED = "GatesFailed"
    """All stages are done, at least one gate failed."""
    GATES_UNDECIDED = "GatesUndecided"
    """All stages are done, too few rows to decide a gate that blocks."""
    STAGE_RUNNING = "StageRunning"
    """A stage is at work on the cluster."""
    WAITING_FOR_PODS = "WaitingForPods"
    """The stage's pods do not run yet; the message says why."""
    PROFILE_MISSING = "ProfileMissing"
    """The DistillationProfile that the spec names does not exist (yet)."""
    PROFILE_VIOLATED = "ProfileViolated"
    """The spec asks for more than the profile allows."""
    NO_STORAGE = "NoStorage"
    """Neither spec nor profile names a storage."""
    RELEASE_CONFLICT = "ReleaseConflict"
    """Another job publishes under the same release name."""
    INVALID_SPEC = "InvalidSpec"
    """The manifest is wrong."""
    INVALID_DATA = "InvalidData"
    """The data that the manifest names is wrong or cannot be read."""
    PILOT_REJECTED = "PilotRejected"
    """Too few of the pilot's answers pass the filter's rules."""
    BUDGET_REACHED = "BudgetReached"
    """Spent and reserved cost have reached `budget.maxCost`."""
    TEACHER_REFUSED = "TeacherRefused"
    """The teacher refuses key, model or quota."""
    TOO_MANY_FAILED = "TooManyFailed"
    """More rows stayed unanswered than `teacher.maxFailed` allows."""
    TOO_MANY_DISCARDED = "TooManyDiscarded"
    """The filter discarded more than `filter.discard.max` allows."""
    SOFT_LABELS_MISSING = "SoftLabelsMissing"
    """The loss asks for soft labels that the teacher's answers do not carry."""
    DIVERGED = "Diverged"
    """Training diverged."""
    STORE_UNUSABLE = "StoreUnusable"
    """The store cannot be read or written."""
    ARTIFACT_CORRUPTED = "ArtifactCorrupted"
    """A stored artifact does not match its digests."""
    RESULT_MISSING = "ResultMissing"
    """An attempt ended without a result and without a reason."""
    RETRIES_EXHAUSTED = "RetriesExhausted"
    """Infrastructure failed more often than is retried."""


class Condition(StatusModel):
    """One condition, with the fields of Kubernetes' metav1.Condition."""

    type: ConditionType
    """Kind of condition."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=256)
    ]
    """Why, in one CamelCase word."""
    message: Message = ""
    """Why, in one or two sentences."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: int = -1
    """Generation of the object that was judged."""


def keep_transition_times(previous: Iterable[Condition], wanted: Iterable[Condition]) -> list[Condition]:
    """Return `wanted`, each condition with its previous transition time where its status is unchanged."""
    before = {condition.type: condition for condition in previous}
    kept = []
    for condition in wanted:
        old = before.get(condition.type)
        if old is not None and old.status == condition.status:
            condition = condition.model_copy(update={"last_transition_time": old.last_transition_time})
        kept.append(condition)
    return kept


def find_condition(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    """Return the condition of that type, if there is one."""
    return next((condition for condition in conditions if condition.type == type_), None)

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
    """Reasons that planning, operator, worker and local run give: the only spelling of each.

    Stages add their own CamelCase reasons to their failures (`StageFailed("TeacherRefused", …)`), and a pod that was
    taken away keeps the word of Kubernetes (`Evicted`); a job that ends with such a failure has its reason.
    """

    RUNNING = "Running"
    """An attempt is about to start."""
    STAGE_RUNNING = "StageRunning"
    """A stage is at work."""
    WAITING_FOR_PODS = "WaitingForPods"
    """The stage's pods do not run yet; the message says why."""
    NOT_SUBMITTED = "NotSubmitted"
    """The next attempt cannot be created now: a quota, a right or KubeRay is missing, or something is still there."""
    RECONCILE_ERROR = "ReconcileError"
    """Something that the job needs cannot be read or written; the message names it, and the API server's words."""
    RELEASE_NOT_PUBLISHED = "ReleaseNotPublished"
    """Every gate has passed, but the release cannot be published; the message says why."""
    BACKING_OFF = "BackingOff"
    """The last attempt failed a moment ago; the next one follows."""
    STOPPING = "Stopping"
    """A live attempt was asked to save its state and stop."""
    CLEANING_UP = "CleaningUp"
    """The attempt has ended; its Ray cluster is not gone yet."""
    SUSPENDED = "Suspended"
    """Suspended on request."""
    REVIEW_PENDING = "ReviewPending"
    """The filter's review sample waits for an approval."""
    INTERRUPTED = "Interrupted"
    """A run was stopped in an orderly way and can be resumed; an attempt was interrupted from outside."""
    SUPERSEDED = "Superseded"
    """A live attempt no longer belongs to the plan."""
    BUDGET_LOWERED = "BudgetLowered"
    """A live attempt was started with a higher `budget.maxCost`."""
    HEARTBEAT_LOST = "HeartbeatLost"
    """A worker has not been heard for too long."""
    PENDING_TOO_LONG = "PendingTooLong"
    """An attempt's pods never came up."""
    COMPLETE = "Complete"
    """Every stage that was asked for is committed, the evaluation not among them."""
    GATES_PASSED = "GatesPassed"
    """All stages are done, all gates passed."""
    GATE_FAILED = "GateFailed"
    """All stages are done; at least one gate failed, or too few rows decide one that blocks."""
    CANCELLED = "Cancelled"
    """Cancelled on request."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """`activeDeadlineSeconds` have passed."""
    GPU_HOURS_REACHED = "GPUHoursReached"
    """`budget.maxGPUHours` are used up."""
    INVALID_SPEC = "InvalidSpec"
    """The manifest is wrong."""
    INVALID_INPUT = "InvalidInput"
    """What the manifest names is wrong or cannot be read: data, a secret, an address."""
    PROFILE_MISSING = "ProfileMissing"
    """The DistillationProfile that the spec names does not exist (yet)."""
    PROFILE_VIOLATED = "ProfileViolated"
    """The spec asks for more than the profile allows."""
    NO_STORAGE = "NoStorage"
    """Neither spec nor profile names a storage."""
    RECORD_DAMAGED = "RecordDamaged"
    """The operator's record of the job cannot be read; the message says how to go on."""
    NAME_TAKEN = "NameTaken"
    """An object that is not the job's own has a name that the job needs."""
    RIGHTS_DIFFER = "RightsDiffer"
    """The job's ServiceAccount, Role or RoleBinding was changed, and the operator may not mend it."""
    RELEASE_CONFLICT = "ReleaseConflict"
    """Another job publishes under the same release name, or its ConfigMap is somebody else's."""
    WORKERS_TOO_SMALL = "WorkersTooSmall"
    """Worker pods ask for less than Ray needs; only a warning."""
    WORKER_TOO_OLD = "WorkerTooOld"
    """The worker image is older than what the job uses; the message names the oldest release that will do."""
    ASSIGNMENT_UNUSABLE = "AssignmentUnusable"
    """A worker found no assignment in its pod, or none that it can read."""
    RAY_JOB_INVALID = "RayJobInvalid"
    """KubeRay refuses the RayJob."""
    RAY_JOB_FAILED = "RayJobFailed"
    """KubeRay gave the RayJob up without a reason of its own."""
    OUT_OF_MEMORY = "OutOfMemory"
    """A pod exceeded its memory limit."""
    DISK_FULL = "DiskFull"
    """The local disk of a worker is full."""
    ATTEMPT_LOST = "AttemptLost"
    """An attempt ended without a report of its end."""
    RESULT_MISSING = "ResultMissing"
    """An attempt reported success, but its artifact is not there."""
    RESTARTED_TOO_OFTEN = "RestartedTooOften"
    """The process of an attempt was started again and again."""
    TRANSIENT = "Transient"
    """A service outside, such as the store, failed in a way that passes."""
    INTERNAL_ERROR = "InternalError"
    """A bug; the log of the worker, or of the operator, has its traceback."""


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

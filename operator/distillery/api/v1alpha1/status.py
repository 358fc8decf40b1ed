"""Status of a DistillationJob: what the operator writes, and what `status.yaml` holds for a local run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from distillery.api.base import StatusModel
from distillery.api.v1alpha1.common import Money
from distillery.api.v1alpha1.conditions import Condition, Message, Timestamp

Phase = Literal[
    "Pending", "Running", "AwaitingReview", "Suspended", "Succeeded", "GatesFailed", "Failed", "Stopped"
]
"""For display only: `Stopped` ended early and can be resumed (budget, pilot, interruption, cancellation)."""
StageState = Literal["Pending", "Running", "Succeeded", "Failed", "Stopped"]
GateResult = Literal["passed", "failed", "undecided"]
Word = Annotated[str, StringConstraints(max_length=256)]
Link = Annotated[str, StringConstraints(max_length=1024)]


class JobProgress(StatusModel):
    """How far the whole job is."""

    percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Share of the expected work that is done."""
    stage: Word | None = None
    """The stage at work."""
    message: Message = ""
    """What it does just now."""
    estimated_seconds_remaining: Annotated[float, Field(ge=0)] | None = None
    """Guess for the whole job."""


class StageProgress(StatusModel):
    """How far one stage is."""

    done: Annotated[int, Field(ge=0)] = 0
    """Units done."""
    total: Annotated[int, Field(ge=0)] | None = None
    """Units in all, when known."""
    unit: Word = "rows"
    """What is counted."""
    rate: Annotated[float, Field(ge=0)] | None = None
    """Units per second."""
    message: Message = ""
    """What it does just now."""
    estimated_seconds_remaining: Annotated[float, Field(ge=0)] | None = None
    """Guess for this stage."""


class StageStatus(StatusModel):
    """One stage."""

    name: Word
    """Name of the stage, as in the spec."""
    state: StageState = "Pending"
    """Where it stands."""
    identity: Word | None = None
    """Names its artifact; known once the stages before it are done."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """Attempts so far."""
    reused: bool = False
    """The artifact was found in the store."""
    start_time: Timestamp | None = None
    """Start of the first attempt."""
    completion_time: Timestamp | None = None
    """When the artifact was committed or the stage failed."""
    progress: StageProgress | None = None
    """How far it is, while it runs."""
    summary: Annotated[dict[str, Any], Field(max_length=32)] = {}
    """A handful of figures from its result."""
    artifact: Link | None = None
    """Where its artifact lies in the store."""


class CostStatus(StatusModel):
    """Money, in the currency of the budget."""

    estimated: Money | None = None
    """Expected cost of the whole job."""
    spent: Money | None = None
    """Paid to the teacher by all attempts of this object."""
    unknown: Money | None = None
    """At most this much more, for calls whose outcome a crash has hidden."""
    budget: Money | None = None
    """`budget.maxCost`."""
    currency: Word = "USD"
    """`budget.currency`."""
    gpu_hours: Annotated[float, Field(ge=0)] | None = None
    """GPU hours of all Ray clusters so far."""


class GateStatus(StatusModel):
    """One gate of the verdict."""

    name: Word
    """The gate, for example `retention` or `slices/german`."""
    result: GateResult
    """How it came out."""
    value: float | None = None
    """The figure that was compared."""
    threshold: float | None = None
    """What it was compared with."""
    message: Message = ""
    """The comparison in words."""


class EvaluationStatus(StatusModel):
    """The verdict and the figures behind it."""

    verdict: GateResult | None = None
    """All gates together."""
    basis: Literal["reference", "teacher"] | None = None
    """What retention is measured against."""
    retention: float | None = None
    """Share of the teacher's quality that the student keeps."""
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    """Lower and upper bound of the retention."""
    gates: Annotated[list[GateStatus], Field(max_length=64)] = []
    """The gates one by one."""
    report: Link | None = None
    """Where report.html lies in the store."""


class ReleaseStatus(StatusModel):
    """The published student."""

    name: Word
    """Name of the model family."""
    version: Word
    """First 12 characters of the evaluation's identity."""
    uri: Link | None = None
    """Folder of the model."""


class ProfileStatus(StatusModel):
    """The profile as it was when this generation was first judged."""

    name: Word | None = None
    """Name of the DistillationProfile; absent: built-in defaults."""
    digest: Word
    """Digest of the snapshot."""
    snapshot: Word | None = None
    """Name of the ConfigMap that holds the snapshot."""


class Status(StatusModel):
    """What is true of the job now. One writer."""

    observed_generation: int = -1
    """Generation of the object that was judged; -1 before the first look."""
    conditions: Annotated[list[Condition], Field(max_length=16)] = []
    """Conditions by kstatus."""
    phase: Phase = "Pending"
    """For display only; nothing is triggered by it."""
    progress: JobProgress = JobProgress()
    """How far the whole job is."""
    stages: Annotated[list[StageStatus], Field(max_length=16)] = []
    """The stages in order."""
    cost: CostStatus = CostStatus()
    """Money."""
    evaluation: EvaluationStatus | None = None
    """The verdict, once there is one."""
    release: ReleaseStatus | None = None
    """The published student, once there is one."""
    profile: ProfileStatus | None = None
    """The platform team's settings that apply."""
    handled: Annotated[dict[Word, Word], Field(max_length=16)] = {}
    """Control requests that have been carried out: annotation → its value."""

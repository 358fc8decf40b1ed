"""What a running attempt tells the outside: progress, then a result or a failure. Versioned wire models."""

from __future__ import annotations

from typing import Any, Literal

from distillery.api.base import WireModel
from distillery.artifacts.manifest import Cost
from distillery.errors import FailureClass
from distillery.stages.stage import StageName

ReportState = Literal["running", "succeeded", "failed", "stopped"]


class Progress(WireModel):
    """How far a stage is. `rate` is in units per second."""

    done: int = 0
    total: int | None = None
    unit: str = "rows"
    message: str = ""
    rate: float | None = None
    remaining_seconds: float | None = None
    spent_micro: int | None = None
    """What this attempt has spent so far."""
    estimate_micro: int | None = None
    """What the whole object is expected to cost, once the inputs are known."""


class Outcome(WireModel):
    """A committed artifact, as far as status and later identities need it."""

    stage: StageName
    identity: str
    output_digest: str
    summary: dict[str, Any] = {}
    cost: Cost = Cost()
    reused: bool = False
    writer: str = ""
    """Whose payload counts: the writer that the manifest names."""


class Failure(WireModel):
    """Why an attempt ended badly."""

    failure_class: FailureClass
    reason: str
    message: str


class Report(WireModel):
    """The last word of one attempt; (incarnation, sequence) orders reports of the same attempt."""

    version: int = 1
    stage: StageName
    recipe: str
    attempt: int
    incarnation: int = 1
    sequence: int = 0
    state: ReportState = "running"
    at: float = 0.0
    """Seconds since the epoch when it was written."""
    sources: str | None = None
    """Digest of the pinned sources, from the dataset stage on."""
    progress: Progress = Progress()
    spent_micro: int | None = None
    """What the whole object has spent so far, by its ledger."""
    unknown_micro: int | None = None
    """Upper bound of calls whose outcome a crash has hidden; beside `spent_micro`."""
    result: Outcome | None = None
    failure: Failure | None = None
    reusable: list[Outcome] = []
    """Artifacts of this and later stages that the store already holds."""
    warnings: list[str] = []

"""The facts that a decision reads, gathered beforehand by an edge into one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from distillery.planning.control import Control
from distillery.stages.report import Failure, Outcome, Report
from distillery.stages.stage import StageName


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a stage. `identity` is None for a dataset attempt whose sources are not pinned yet.

    `live` says that something of it may still be running; `ended_at` is when that stopped being so. Times are in
    seconds since the epoch.

    The rest is known on a cluster only: `created` is false where it was recorded but nothing of it was ever seen;
    `stop_reason` is why it was told to stop; `failure` is what the cluster showed where the worker could not say it;
    `trouble` is what is wrong with its pods, `at_work` says that its worker has spoken and may go on meanwhile;
    `shape` is what its pods were made from; `pending_since` and `heard_at` start the watchdogs' clocks.
    """

    stage: StageName
    number: int
    recipe: str
    identity: str | None
    started_at: float
    live: bool
    report: Report | None = None
    stop_requested: bool = False
    ended_at: float | None = None
    generation: int | None = None
    storage: str | None = None
    created: bool = True
    stop_reason: str = ""
    failure: Failure | None = None
    max_cost_micro: int | None = None
    trouble: str = ""
    at_work: bool = False
    shape: str = ""
    pending_since: float | None = None
    heard_at: float | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a silent or pending attempt is waited for, in seconds; None: for ever, as in a local run.

    `pauses` follow the first, second … failure of an attempt in a row. In a local run somebody looks on.
    """

    heartbeat: float | None = None
    pending: float | None = None
    pauses: tuple[float, ...] = (0.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything known about a job at one moment."""

    attempts: tuple[Attempt, ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """Committed artifacts by identity, from results and from what walks of the store found reusable."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Pinned source digests by dataset recipe."""
    forgiven_before: float = 0.0
    """Failures of attempts started before this time do not count: someone asked for another try."""
    generation: int | None = None
    """Generation of the spec that is judged: failures of attempts of an older one do not count."""
    generation_since: float | None = None
    """When this generation was first met, in seconds since the epoch; None in a local run."""
    ledger_micro: int = 0
    """What the object has spent on its teacher, in micro-units."""
    unknown_micro: int = 0
    """Upper bound of what calls cost whose outcome was lost in a crash."""
    gpu_seconds: float = 0.0
    """Lifetime of the attempts' Ray clusters times their GPUs."""
    control: Control = field(default_factory=Control)
    """What people have asked for beside the spec."""
    patience: Patience = field(default_factory=Patience)
    """The watchdogs' limits."""
    shapes: Mapping[StageName, str] = field(default_factory=dict)
    """What the pods of a stage would be made from now, where an attempt might be replaced for it."""

    def attempts_of(self, stage: StageName) -> tuple[Attempt, ...]:
        """Return the attempts of a stage, oldest first."""
        return tuple(sorted((a for a in self.attempts if a.stage == stage), key=lambda a: a.number))

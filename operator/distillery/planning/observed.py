"""The facts that a decision reads, gathered beforehand by an edge into one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from distillery.stages.report import Outcome, Report
from distillery.stages.stage import StageName


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a stage. `identity` is None for a dataset attempt whose sources are not pinned yet.

    `live` says that something of it may still be running; `ended_at` is when that stopped being so. Times are in
    seconds since the epoch.
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
    ledger_micro: int = 0
    """What the object has spent on its teacher, in micro-units."""
    unknown_micro: int = 0
    """Upper bound of what calls cost whose outcome was lost in a crash."""

    def attempts_of(self, stage: StageName) -> tuple[Attempt, ...]:
        """Return the attempts of a stage, oldest first."""
        return tuple(sorted((a for a in self.attempts if a.stage == stage), key=lambda a: a.number))

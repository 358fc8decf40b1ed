"""What a driver is handed: its parameters, verified inputs, a place for output, secrets, progress, a stop signal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from distillery.artifacts.artifact import Artifact, ArtifactWriter
from distillery.artifacts.manifest import Cost
from distillery.artifacts.store import ObjectStore
from distillery.errors import StageStopped
from distillery.stages.report import Progress
from distillery.stages.stage import StageRun


class Secrets(Protocol):
    """Values by reference; never logged, never stored."""

    def get(self, name: str, key: str) -> str:
        """Return the value. Raises: SpecError naming the reference and how to supply it."""
        ...

    def optional(self, name: str, key: str) -> str | None:
        """Return the value or None."""
        ...


@dataclass(frozen=True, slots=True)
class StageContext:
    """Everything a driver may touch. Drivers read the environment, the clock and the disk through nothing else."""

    run: StageRun
    identity: str
    attempt: int
    store: ObjectStore
    inputs: Mapping[str, Artifact]
    output: ArtifactWriter
    scratch: Path
    """Local folder of this attempt's stage; survives a restart on the same machine, may be empty at any start."""
    secrets: Secrets
    progress: Callable[[Progress], None]
    stop_requested: Callable[[], bool]
    now: Callable[[], float]
    """Seconds since the epoch."""
    open_source: Callable[[str, str | None, str | None], ObjectStore]
    """(folder URI, endpoint, credentials secret) → store, for sources and base models outside the storage."""
    warn: Callable[[str], None]
    workers: int = 0
    """Worker pods of the Ray cluster that this process is connected to; 0: there is only this machine."""

    def check_stop(self) -> None:
        """Raise StageStopped if a stop was requested; call it where the state is safe."""
        if self.stop_requested():
            raise StageStopped("stop requested")


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a driver returns; the caller writes the manifest."""

    output_digest: str
    """Digest of the logical content (see artifacts.manifest.logical_digest)."""
    counts: Mapping[str, int] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    """A handful of scalars for the status."""
    cost: Cost = field(default_factory=Cost)
    provenance: Mapping[str, Any] = field(default_factory=dict)

"""Where a person finds more about a job: files of a local run, or the object on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distillery.api.v1alpha1.status import Status


class Place(Protocol):
    """What the closing summary of a job points at."""

    @property
    def status(self) -> str:
        """Where the whole status is."""
        ...

    def report(self, status: Status) -> str:
        """Where the evaluation's report lies; empty if nowhere."""
        ...


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """The workdir of a local run."""

    folder: Path

    @property
    def status(self) -> str:
        """Path of the status document."""
        return f"{self.folder}/status.yaml"

    def report(self, status: Status) -> str:
        """Path of the copy beside the status; if none could be made, address in the store."""
        address = _stored_report(status)
        path = self.folder / "report.html"
        return str(path) if address and path.exists() else address


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """An object on a cluster; `flags` are the options that lead to it (` -n support`)."""

    name: str
    flags: str

    @property
    def status(self) -> str:
        """The command that prints it."""
        return f"distillery status {self.name}{self.flags}"

    def report(self, status: Status) -> str:
        """Address in the store."""
        return _stored_report(status)


def _stored_report(status: Status) -> str:
    return (status.evaluation.report or "") if status.evaluation else ""

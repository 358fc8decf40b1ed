"""What one attempt is given in its pod: the frozen StageRun and where to keep artifacts and reports. No secrets."""

from __future__ import annotations

from distillery.api.base import WireModel
from distillery.api.v1alpha1.common import Storage
from distillery.stages.stage import StageName, StageRun
from distillery.stages.versions import version_of

HEARTBEAT_SECONDS = 10.0
UNUSABLE_STATUS = 2
"""Exit status of a worker, of any release, that cannot use its assignment."""


def attempt_key(stage: StageName, attempt: int) -> str:
    """Return the key of an attempt in the record and in the reports."""
    return f"{stage}.{attempt}"


class Assignment(WireModel):
    """One attempt of a stage on the cluster.

    `record` and `reports` name ConfigMaps in `namespace`: the operator's word to the worker, and the worker's word
    to the operator. `workers` counts the worker pods of the attempt's Ray cluster; with none the head works. Workers
    refuse a higher `version` than they know; see `stages.versions`.
    """

    version: int = 1
    run: StageRun
    attempt: int
    storage: Storage
    namespace: str
    record: str
    reports: str
    workers: int = 0
    heartbeat_seconds: float = HEARTBEAT_SECONDS

    def versioned(self) -> Assignment:
        """Return it with the version that a worker must read to do what it asks for."""
        return self.model_copy(update={"version": max(self.run.version, version_of(self))})

    @property
    def key(self) -> str:
        """Key of this attempt in the record and in the reports."""
        return attempt_key(self.run.stage, self.attempt)

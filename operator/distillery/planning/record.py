"""The operator's record of a job: one entry per attempt, written before the attempt is created. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from distillery.api.base import WireModel
from distillery.stages.assignment import attempt_key
from distillery.stages.report import Failure
from distillery.stages.stage import StageName


@dataclass(frozen=True, slots=True)
class JobRef:
    """Which object: two objects of the same name at different times differ by uid."""

    name: str
    namespace: str
    uid: str


class Needs(WireModel):
    """What an attempt needs of its worker image, kept where not every release will do.

    `version` is that of its assignment, `release` the oldest whose workers read it, `image` what its pods run, and
    `profile` names where that was said, if not in the operator's own settings.
    """

    version: int
    release: str
    image: str
    profile: str | None = None


class AttemptRecord(WireModel):
    """What the operator knows about one attempt and must not forget. Times are in seconds since the epoch.

    `name` is that of its RayJob, `storage` the URI under which it works, `cluster_at` when its Ray cluster began.
    `control` is what the worker is told; `control_reason` and `control_message` say why. `failure` is what the cluster
    showed where the worker could not say it. `gpu_seconds` is the lifetime of its Ray clusters times their GPUs.
    `shape` is the digest of what its pods were made from. Its pods could not be created since `held_at`, or until
    `freed_at`.
    `ray_job_uid` and `ray_cluster_uids` are those of its RayJob and Ray clusters as seen: what they control is its own
    after they are gone.
    """

    version: int = 1
    stage: StageName
    attempt: int
    recipe: str
    identity: str | None = None
    generation: int
    name: str
    started_at: float
    storage: str = ""
    max_cost_micro: int | None = None
    control: Literal["", "stop"] = ""
    control_reason: str = ""
    control_message: str = ""
    control_at: float | None = None
    ended_at: float | None = None
    failure: Failure | None = None
    cluster_at: float | None = None
    gpus: int = 0
    gpu_seconds: float = 0.0
    needs: Needs | None = None
    shape: str = ""
    held_at: float | None = None
    freed_at: float | None = None
    ray_job_uid: str = ""
    ray_cluster_uids: list[str] = []

    @property
    def key(self) -> str:
        """Key of this attempt in the record and in the reports."""
        return attempt_key(self.stage, self.attempt)

    def dump(self) -> str:
        """Return the text that the record holds."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)


def parse_record(data: Mapping[str, str]) -> dict[str, AttemptRecord]:
    """Return the entries of a record by key.

    Raises: ValueError for an entry that is not ours: guessing could start a second attempt.
    """
    entries: dict[str, AttemptRecord] = {}
    for key, text in data.items():
        try:
            entry = AttemptRecord.model_validate_json(text)
        except ValidationError as error:
            raise ValueError(f"record entry {key} cannot be read: {error.errors()[0]['msg']}") from None
        if entry.key != key:
            raise ValueError(f"record entry {key} describes {entry.key}")
        entries[key] = entry
    return entries

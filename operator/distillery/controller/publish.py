"""Step 10: what users and other objects read: the status, written when it says something new, and the release."""

from __future__ import annotations

from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import Status
from distillery.kube.client import Kube
from distillery.kube.errors import Exists, NotFound
from distillery.kube.resources import CONFIG_MAPS, DISTILLATION_JOBS
from distillery.manifests.release import ReleasedBy, release_map
from distillery.planning.record import JobRef

PROGRESS_SECONDS = 10.0
"""Progress alone is written at most this often."""


class Publisher:
    """Writes statuses and releases."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._written: dict[str, float] = {}

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a job that is gone."""
        self._written.pop(uid, None)

    async def status(
        self, document: dict[str, Any], before: Status, after: Status, now: float
    ) -> float | None:
        """Write the status if it says something new.

        Returns: seconds after which progress that was held back may be written, or None.

        Raises: Stale if the object has changed since it was read; what the API server answers.
        """
        if before == after and "status" in document:
            return None
        uid = document["metadata"]["uid"]
        age = now - self._written.get(uid, 0.0)  # less than nothing if the clock was set back
        if _lasting(before) == _lasting(after) and 0 <= age < PROGRESS_SECONDS:
            return PROGRESS_SECONDS - age
        try:
            await self._kube.replace_status(DISTILLATION_JOBS, _bare(document, after))
        except NotFound:
            return None  # deleted in the meantime: nobody is left to tell
        self._written[uid] = now
        return None

    async def release(self, ref: JobRef, status: Status) -> str | None:
        """Publish a released student as ConfigMap `distillery-release-<name>`.

        Returns: a complaint if another job publishes under that name, or the ConfigMap is none of ours.
        """
        if status.release is None or status.evaluation is None or status.evaluation.verdict != "passed":
            return None
        body = release_map(ref, status.release, status.evaluation)
        name, namespace = body["metadata"]["name"], ref.namespace
        found = await self._kube.find(CONFIG_MAPS, name, namespace)
        if found is None:
            try:
                await self._kube.create(CONFIG_MAPS, body)
                return None
            except Exists:
                found = await self._kube.get(CONFIG_MAPS, name, namespace)
        publisher, ours = ReleasedBy.of(found), ReleasedBy(ref.name, ref.uid)
        repair = "→ choose another release.name"
        if publisher is None:
            wrong = f"ConfigMap {name} exists and is no release"
            return f"{Reason.RELEASE_CONFLICT}: {wrong} {repair}, or delete it"
        if publisher != ours and await self._lives(publisher, namespace):
            wrong = f"release {status.release.name} is published by {publisher.name}"
            return f"{Reason.RELEASE_CONFLICT}: {wrong} {repair}"
        if publisher != ours or not _says(found, body):
            await self._kube.replace(CONFIG_MAPS, {**found, "data": body["data"]})
        return None

    async def _lives(self, publisher: ReleasedBy, namespace: str) -> bool:
        job = await self._kube.find(DISTILLATION_JOBS, publisher.name, namespace)
        return job is not None and job["metadata"]["uid"] == publisher.uid


def _says(found: dict[str, Any], body: dict[str, Any]) -> bool:
    """Say whether a release names this student already: a later release of ours may write more about the same."""
    data = found.get("data") or {}
    return all(data.get(key) == body["data"][key] for key in ("version", "uri"))


def _bare(document: dict[str, Any], status: Status) -> dict[str, Any]:
    """Return an object with nothing but its status and what names it: the API server ignores the rest.

    The spec as we read it may not be whole: what nobody can decode has been cut out of it.
    """
    known = ("name", "namespace", "uid", "resourceVersion")
    return {
        "apiVersion": DISTILLATION_JOBS.api_version,
        "kind": DISTILLATION_JOBS.kind,
        "metadata": {key: document["metadata"][key] for key in known},
        "status": status.to_wire(),
    }


def _lasting(status: Status) -> Status:
    """Return the status without what changes while a stage runs, or while the same thing hinders the job."""
    return status.model_copy(
        update={
            "conditions": [condition.model_copy(update={"message": ""}) for condition in status.conditions],
            "progress": Status().progress,
            "stages": [stage.model_copy(update={"progress": None}) for stage in status.stages],
            "cost": Status().cost,
        }
    )

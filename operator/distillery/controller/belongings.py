"""A job's objects by their names: found, created and deleted only if they are its own (planning/ownership.py)."""

from __future__ import annotations

import logging
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.controller.projection import project_object
from distillery.controller.refusal import Refused
from distillery.errors import TransientError
from distillery.kube.client import Kube
from distillery.kube.errors import Exists
from distillery.kube.resources import CONFIG_MAPS, Resource
from distillery.manifests.metadata import DIGEST_ANNOTATION, STAGE_LABEL
from distillery.planning.ownership import owned_by
from distillery.planning.record import JobRef

log = logging.getLogger(__name__)


class Belongings:
    """Reads and writes objects of a job. One of the same name that belongs to somebody else stays as it is."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def find(self, resource: Resource, ref: JobRef, name: str) -> dict[str, Any] | None:
        """Return an object of a job, or None if there is none of this name. Raises: Refused if it is not its own."""
        found = await self._kube.find(resource, name, ref.namespace)
        if found is not None:
            _check(resource, ref, found)
        return found

    async def ensure(self, resource: Resource, ref: JobRef, body: dict[str, Any]) -> dict[str, Any]:
        """Return the object, created if it is missing. Raises: Refused if its name is taken."""
        name = body["metadata"]["name"]
        found = await self.find(resource, ref, name)
        if found is not None:
            return found
        try:
            return await self._kube.create(resource, body)
        except Exists:
            found = await self._kube.get(resource, name, ref.namespace)
            _check(resource, ref, found)
            return found

    async def adopt_or_create(self, resource: Resource, ref: JobRef, body: dict[str, Any]) -> None:
        """Create, or adopt what a crashed or a second operator has created under the same name.

        Raises: TransientError if it is going away; Refused if its name is taken.
        """
        metadata = body["metadata"]
        try:
            await self._kube.create(resource, body)
            return
        except Exists:
            found = await self._kube.get(resource, metadata["name"], ref.namespace)
        _check(resource, ref, found)
        other = found["metadata"]
        if other.get("deletionTimestamp"):
            raise TransientError(f"{metadata['name']} is still being deleted")
        digests = [(m.get("annotations") or {}).get(DIGEST_ANNOTATION) for m in (other, metadata)]
        if digests[0] != digests[1]:
            log.warning("%s was rendered from another state of the spec; it goes on", metadata["name"])

    async def delete_assignment(self, ref: JobRef, name: str) -> None:
        """Delete an attempt's ConfigMap; one that is gone, or another of the job's, or somebody else's, is left alone.

        The name is that of a RayJob, which people choose who forge one: record and reports must not go by it.
        """
        found = await self._kube.find(CONFIG_MAPS, name, ref.namespace)
        if found is not None and is_own(ref, found) and STAGE_LABEL in found["metadata"]["labels"]:
            await self._kube.delete(CONFIG_MAPS, name, ref.namespace, uid=found["metadata"]["uid"])


def is_own(ref: JobRef, document: dict[str, Any]) -> bool:
    """Say whether a document is that of a job's own object."""
    return owned_by(ref, project_object(document))


def _check(resource: Resource, ref: JobRef, found: dict[str, Any]) -> None:
    if is_own(ref, found):
        return
    name = found["metadata"]["name"]
    wrong = f"{resource.kind} {name} is not this job's: it lacks the labels or the controller that the operator gives"
    raise Refused(Reason.NAME_TAKEN, f"{wrong} → delete it, or save it under another name", False)

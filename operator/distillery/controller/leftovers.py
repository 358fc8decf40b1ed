"""What is left of earlier attempts, by the API server itself: the next one of a stage must not begin beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from distillery.controller.projection import project_cluster, project_pod, project_rayjob
from distillery.errors import TransientError
from distillery.kube.client import Kube
from distillery.kube.resources import PODS, RAY_CLUSTERS, RAY_JOBS, Resource
from distillery.manifests.metadata import JOB_UID_LABEL
from distillery.planning.children import Child, RayJobView
from distillery.planning.observing import Facts, is_live
from distillery.planning.ownership import children_of, controlled_by
from distillery.planning.record import AttemptRecord, JobRef

C = TypeVar("C", bound=Child)

LATEST = 5
"""Attempts that are asked for by name: what is older was found gone before these were created."""


class Leftovers:
    """Looks for what may still work."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def confirm_none(self, ref: JobRef, facts: Facts) -> None:
        """Look past the cache: nothing of an attempt without a result may be left that could still work.

        A list costs the API server the more the more there is in the namespace, so it is asked for only then.

        Raises: TransientError if something is.
        """
        doubtful = [entry for key, entry in facts.entries.items() if not facts.has_result(key)]
        if not doubtful:
            return
        jobs = await self._listed(RAY_JOBS, ref, project_rayjob)
        jobs += await self._without_labels(ref, doubtful, {job.name for job in jobs})
        clusters = await self._listed(RAY_CLUSTERS, ref, project_cluster)
        found: list[Child] = [*jobs, *clusters, *await self._listed(PODS, ref, project_pod)]
        children = children_of(ref, found, facts.entries, facts.parents)
        seen = replace(facts, children=children)
        for entry in doubtful:
            # The record may have been too quick to say that it has ended.
            if is_live(entry.model_copy(update={"ended_at": None}), seen):
                raise TransientError(f"something of {entry.name} is still there")

    async def _listed(
        self, resource: Resource, ref: JobRef, project: Callable[[dict[str, Any]], C]
    ) -> list[C]:
        """Return views of what carries the job's label: anybody may have put it on hundreds of pods of 1 MB."""
        pages = self._kube.scan(resource, ref.namespace, view=project, labels=f"{JOB_UID_LABEL}={ref.uid}")
        return [view async for page in pages for view in page]

    async def _without_labels(
        self, ref: JobRef, entries: Sequence[AttemptRecord], listed: set[str]
    ) -> list[RayJobView]:
        """Return RayJobs of the latest attempts whose labels somebody has removed: no list shows them.

        To get an object by its name costs the API server next to nothing.
        """
        latest = sorted(entries, key=lambda entry: entry.started_at)[-LATEST:]
        found = []
        for name in (entry.name for entry in latest if entry.name not in listed):
            document = await self._kube.find(RAY_JOBS, name, ref.namespace)
            view = None if document is None else project_rayjob(document)
            if view is not None and controlled_by(ref, view):
                found.append(replace(view, managed=True, job_uid=ref.uid))
        return found

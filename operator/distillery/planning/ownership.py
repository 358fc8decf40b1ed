"""What belongs to a job: the one place where its children are told from look-alikes. Pure.

Labels are no proof, since whoever may create a pod may write them. Ownership is followed link by link, each by
namespace, controller and UID: DistillationJob → RayJob → RayCluster → pod. The attempt of a child is that of its
RayJob, which the record knows by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from distillery.api.v1alpha1.common import GROUP
from distillery.api.v1alpha1.distillation_job import KIND
from distillery.planning.children import Child, ClusterView, ObjectView, Owner, PodView, RayJobView
from distillery.planning.record import AttemptRecord, JobRef

RAY_GROUP: Final = "ray.io"


@dataclass(frozen=True, slots=True)
class Parents:
    """UIDs of RayJobs and RayClusters that were believed once, each with the key of its attempt.

    They may be gone while what they own still terminates.
    """

    ray_jobs: Mapping[str, str] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Mapping[str, AttemptRecord]) -> Parents:
        """Return those that the record has noted."""
        return cls(
            {entry.ray_job_uid: key for key, entry in entries.items() if entry.ray_job_uid},
            {uid: key for key, entry in entries.items() for uid in entry.ray_cluster_uids},
        )

    def joined(self, others: Parents) -> Parents:
        """Return both together."""
        return Parents({**self.ray_jobs, **others.ray_jobs}, {**self.clusters, **others.clusters})

    def with_children(self, children: Iterable[Child]) -> Parents:
        """Return them together with those among these children."""
        known = list(children)
        jobs = {child.uid: child.key for child in known if isinstance(child, RayJobView)}
        return self.joined(Parents(jobs, {c.uid: c.key for c in known if isinstance(c, ClusterView)}))


def owned_by(ref: JobRef, view: ObjectView | RayJobView) -> bool:
    """Say whether an object is a job's own: in its namespace, controlled by it, with our mark.

    What is not is never used, changed or deleted, whatever it is called.
    """
    marked = view.managed and view.job_uid == ref.uid
    return marked and controlled_by(ref, view)


def controlled_by(ref: JobRef, view: ObjectView | RayJobView) -> bool:
    """Say whether a job controls an object, though somebody may have taken our labels off it."""
    return view.namespace == ref.namespace and view.owner == Owner(GROUP, KIND, ref.name, ref.uid)


def children_of(
    ref: JobRef,
    candidates: Iterable[Child],
    entries: Mapping[str, AttemptRecord],
    parents: Parents | None = None,
) -> tuple[Child, ...]:
    """Return the children of a job, each under the key of its attempt.

    Args:
        ref: the job.
        candidates: what carries its uid as a label.
        entries: the record.
        parents: those that may be gone already; by default those in the record.
    """
    here = [child for child in candidates if child.namespace == ref.namespace]
    chain = _Chain(ref, entries, parents or Parents.of(entries), frozenset(child.uid for child in here))
    jobs = chain.ray_jobs(child for child in here if isinstance(child, RayJobView))
    clusters = chain.clusters(jobs, (child for child in here if isinstance(child, ClusterView)))
    pods = chain.pods(jobs, clusters, (child for child in here if isinstance(child, PodView)))
    return (*jobs, *clusters, *pods)


class _Chain:
    """Follows the links of one job."""

    def __init__(
        self, ref: JobRef, entries: Mapping[str, AttemptRecord], parents: Parents, present: frozenset[str]
    ) -> None:
        self._ref = ref
        self._entries = entries
        self._parents = parents
        self._present = present
        self._names = {entry.name: key for key, entry in entries.items()}

    def ray_jobs(self, candidates: Iterable[RayJobView]) -> list[RayJobView]:
        """Return the job's own: attempts of the record by their name, and leftovers of a record that is gone."""
        found = []
        for child in candidates:
            key = self._names.get(child.name)
            if key is None and child.key not in self._entries:
                key = child.key
            # A copy that somebody made of an attempt has its labels and its owner, but a name of its own.
            if key is not None and owned_by(self._ref, child):
                found.append(replace(child, key=key))
        return found

    def clusters(self, jobs: Iterable[RayJobView], candidates: Iterable[ClusterView]) -> list[ClusterView]:
        """Return what is controlled by one of these RayJobs, or by one that was."""
        parents = self._parents.with_children(jobs).ray_jobs
        known = set(parents.values())
        found = []
        for child in candidates:
            owner = child.owner
            if owner is None or (owner.group, owner.kind) != (RAY_GROUP, "RayJob"):
                continue
            key = parents.get(owner.uid) or self._orphan_of(owner.uid, owner.name, known)
            if key is not None:
                found.append(replace(child, key=key))
        return found

    def pods(
        self, jobs: Iterable[RayJobView], clusters: Iterable[ClusterView], candidates: Iterable[PodView]
    ) -> list[PodView]:
        """Return what is controlled by one of these RayClusters, or by one that was."""
        parents = self._parents.with_children(clusters).clusters
        known = {*parents.values(), *(job.key for job in jobs if not job.ended)}
        found = []
        for child in candidates:
            owner = child.owner
            if owner is None or (owner.group, owner.kind) != (RAY_GROUP, "RayCluster"):
                continue
            # KubeRay calls the cluster of RayJob x `x-` and five random characters.
            ray_job = owner.name.rpartition("-")[0]
            key = parents.get(owner.uid) or self._orphan_of(owner.uid, ray_job, known)
            if key is not None:
                found.append(replace(child, key=key))
        return found

    def _orphan_of(self, parent_uid: str, ray_job: str, known: set[str]) -> str | None:
        """Return the live attempt of which only an orphan is left, by the name of its RayJob.

        So it is after a start of the operator if the parent went before its UID was noted, which older releases never
        did. What names an owner that does not exist is soon removed by Kubernetes' garbage collector.

        Args: `known` are the keys of attempts whose parent is known, so that it need not be guessed.
        """
        key = self._names.get(ray_job)
        if key is None or key in known or parent_uid in self._present:
            return None
        return key if self._entries[key].ended_at is None else None

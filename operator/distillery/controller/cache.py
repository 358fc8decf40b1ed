"""What the watches have shown of the jobs' children: small projections by job. Fed by events and mended by lists.

They are found here by their labels, which anybody may write, so they are candidates: planning/ownership.py says which
of them a job believes.

Kopf tells no deletion that happens while a watch is broken. So lists are compared with the cache from time to time;
what was touched by an event after a list began is newer than the list.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

from distillery.planning.children import Child, ClusterView, PodView

MOST_LOST = 50
"""Lost pods that are remembered per Ray cluster; beyond these the oldest are forgotten."""

JobKey = tuple[str, str]
"""Namespace and name of a DistillationJob."""
Family = tuple[str, str]
"""A namespace and the uid of the job to which objects there say that they belong."""


@dataclass(slots=True)
class _Entry:
    view: Child
    stamp: int


@dataclass(frozen=True, slots=True)
class KnownJob:
    """A DistillationJob and the profile that it names."""

    key: JobKey
    profile: str | None = None


class Cache:
    """Children by namespace and by the uid of their job, and the jobs. All methods are for one event loop."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._families: dict[Family, set[str]] = {}
        self._jobs: dict[str, KnownJob] = {}
        self._gone: dict[str, int] = {}
        self._lost: dict[str, list[PodView]] = {}
        self._stamp = 0

    def children(self, namespace: str, job_uid: str) -> tuple[Child, ...]:
        """Return what says in a job's namespace that it is one of its RayJobs, RayClusters and pods."""
        uids = self._families.get((namespace, job_uid), ())
        return tuple(self._entries[uid].view for uid in sorted(uids))

    def lost(self, namespace: str, job_uid: str) -> tuple[PodView, ...]:
        """Return pods that are gone while their Ray cluster is there, as they were last seen.

        KubeRay puts others in their place and keeps no count. It is only for people, so it may begin anew with the
        process. Each Ray cluster has its own, lest those of a stranger's push the others out.
        """
        members = sorted(self._families.get((namespace, job_uid), ()))
        return tuple(pod for uid in members for pod in self._lost.get(uid, ()))

    def upsert(self, view: Child) -> bool:
        """Take what an event has shown. Returns: whether that says something new."""
        if view.uid in self._gone:
            return False  # an event that was overtaken by the deletion; uids never come back
        known = self._entries.get(view.uid)
        if known is not None and known.view.version > view.version:
            return False  # events overtake each other where a watch is resumed
        self._stamp += 1
        self._put(view, self._stamp)
        return known is None or known.view != view

    def delete(self, view: Child) -> None:
        """Take a deletion; that of an object that lost its labels counts as one."""
        self._stamp += 1
        self._gone[view.uid] = self._stamp
        known = self._entries.get(view.uid)
        if known is not None and _family(known.view) == _family(view):
            known.view = view  # how it ended
        self._drop(view.uid)

    def mark(self) -> int:
        """Return the moment before a list, for `relist`."""
        return self._stamp

    def relist(self, kind: type[Child], views: Iterable[Child], mark: int) -> list[Family]:
        """Take a complete list of one kind that was begun at `mark`. Returns: the families that it changed."""
        listed = {view.uid: view for view in views}
        changed: set[Family] = set()
        for entry in [entry for entry in self._entries.values() if type(entry.view) is kind]:
            newer = listed.pop(entry.view.uid, None)
            if entry.stamp > mark or entry.view == newer:
                continue
            changed.add(_family(entry.view))
            if newer is None:
                self._drop(entry.view.uid)
            else:
                changed.add(_family(newer))
                self._put(newer, entry.stamp)
        for view in listed.values():
            if view.uid not in self._gone:
                changed.add(_family(view))
                self.upsert(view)
        return sorted(changed)

    def settle(self, mark: int) -> None:
        """All lists that were begun at `mark` are in: what was deleted before need not be remembered."""
        self._gone = {uid: stamp for uid, stamp in self._gone.items() if stamp > mark}

    def know_job(self, uid: str, job: KnownJob) -> None:
        """Take a DistillationJob that exists."""
        self._jobs[uid] = job

    def forget_job(self, uid: str) -> None:
        """Drop a DistillationJob that is gone. Its children follow when they are deleted themselves."""
        self._jobs.pop(uid, None)

    def has_job(self, key: JobKey) -> bool:
        """Say whether a job of this name exists, maybe a newer one than the one that was deleted."""
        return any(job.key == key for job in self._jobs.values())

    def job(self, uid: str) -> JobKey | None:
        """Return which job has a uid."""
        job = self._jobs.get(uid)
        return None if job is None else job.key

    def job_uids(self) -> tuple[str, ...]:
        """Return the uids of all jobs."""
        return tuple(self._jobs)

    def jobs_with_profile(self, name: str) -> list[JobKey]:
        """Return the jobs that name a profile, or name none and may get it by default."""
        return [job.key for job in self._jobs.values() if job.profile in (None, name)]

    def _put(self, view: Child, stamp: int) -> None:
        """Keep a view where its labels say that it belongs, which may be elsewhere than before."""
        known = self._entries.get(view.uid)
        if known is not None and _family(known.view) != _family(view):
            self._drop(view.uid)
        self._entries[view.uid] = _Entry(view, stamp)
        self._families.setdefault(_family(view), set()).add(view.uid)

    def _drop(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is None:
            return
        family = _family(entry.view)
        members = self._families[family]
        members.discard(uid)
        self._remember(entry.view, members)
        if not members:
            del self._families[family]

    def _remember(self, view: Child, left: Container[str]) -> None:
        """Keep a pod that was lost while its Ray cluster is there, and drop those of a cluster that is gone."""
        if isinstance(view, ClusterView):
            self._lost.pop(view.uid, None)
        elif isinstance(view, PodView) and view.owner is not None and view.owner.uid in left:
            cluster = self._entries[view.owner.uid].view
            if isinstance(cluster, ClusterView) and not cluster.terminating:
                self._lost[cluster.uid] = [*self._lost.get(cluster.uid, ()), view][-MOST_LOST:]


def _family(view: Child) -> Family:
    return view.namespace, view.job_uid

"""What an attempt's Ray cluster and pods say about it: why it does not run, and which of its clocks do. Pure.

One reading for all who ask, so that what is shown and what is waited for never disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distillery.planning.children import Child, ClusterView, PodView, RayJobView
from distillery.stages.stage import StageName

SLOW_SECONDS = 30.0
"""KubeRay makes a Ray cluster and its first pod within a second or two; so much later something is in its way."""
SUSPENDED = ("Suspending", "Suspended")
"""States in which KubeRay has taken, or takes, everything of a RayJob away."""
UNREADY_SECONDS = 45.0
"""Ray starts within some 20 s; pods that need longer are mostly killed by their probes."""


@dataclass(frozen=True, slots=True)
class AttemptPods:
    """What belongs to one attempt.

    `ending` are Ray clusters that are being deleted, `lost` pods that are gone although their Ray cluster is there.
    """

    stage: StageName
    jobs: tuple[RayJobView, ...]
    clusters: tuple[ClusterView, ...]
    ending: tuple[ClusterView, ...]
    pods: tuple[PodView, ...]
    lost: tuple[PodView, ...]
    now: float

    @classmethod
    def of(
        cls, stage: StageName, children: Sequence[Child], lost: Sequence[PodView], now: float
    ) -> AttemptPods:
        """Sort an attempt's children; the head first, since the workers wait for it."""
        every = [child for child in children if isinstance(child, ClusterView)]
        clusters = tuple(cluster for cluster in every if not cluster.terminating)
        ending = tuple(cluster for cluster in every if cluster.terminating)
        oldest = min((cluster.created_at for cluster in clusters), default=None)
        gone = tuple(pod for pod in lost if oldest is not None and pod.created_at >= oldest)
        pods = sorted((c for c in children if isinstance(c, PodView)), key=lambda p: (not p.head, p.name))
        jobs = tuple(child for child in children if isinstance(child, RayJobView))
        return cls(stage, jobs, clusters, ending, tuple(pods), gone, now)

    @property
    def queued(self) -> bool:
        """Whether it waits in a queue such as Kueue's: nothing of it may run, or KubeRay has not begun again."""
        return any(job.suspended or job.deployment_status in SUSPENDED for job in self.jobs)

    @property
    def held(self) -> bool:
        """Whether pods may not be created. What waits for that has not failed."""
        return not self.queued and any(cluster.held for cluster in self.clusters)

    @property
    def takes_gpus(self) -> bool:
        """Whether it takes the GPUs that it is for: not while none of the pods that hold them may be created."""
        return bool(self.clusters or self.ending) and not (self.held and all(pod.head for pod in self.pods))

    @property
    def speaks(self) -> bool:
        """Whether there is a head that can work: its worker process is heard from nowhere else."""
        return any(pod.head and not (pod.trouble or pod.ended or pod.terminating_at) for pod in self.pods)

    def pending_since(self, freed_at: float | None) -> float | None:
        """Return since when its pods could have come up, or None while they cannot.

        Args:
            freed_at: when pods could be created again after they could not.
        """
        if self.queued or self.held:
            return None
        begun = [child.created_at for child in (*self.clusters, *self.ending)] or self._taken_up
        return max(min(begun), freed_at or 0.0) if begun else None

    def silent_since(self, heard: float | None, freed_at: float | None) -> float | None:
        """Return since when its worker is silent, or None while it cannot speak; a new head needs time to."""
        if heard is None or self.queued or (self.held and not self.speaks):
            return None
        heads = [pod.created_at for pod in self.pods if pod.head]
        clusters = [cluster.created_at for cluster in self.clusters]
        return max([heard, freed_at or 0.0, *heads, *clusters, *self._taken_up])

    @property
    def _taken_up(self) -> list[float]:
        """When KubeRay last took its RayJobs up: anew, where a queue has let one in again."""
        return [max(job.created_at, job.started_at or 0.0) for job in self.jobs]

    @property
    def trouble(self) -> str:
        """Say what is wrong with it, or nothing."""
        if self.queued:
            return "waiting in the queue"
        found = [self._waiting(), self._refused(), self._replaced(), self._unready(), self._missing()]
        return "; ".join(dict.fromkeys(text for text in found if text))

    def _waiting(self) -> str:
        for pod in self.pods:
            if pod.trouble and not pod.ended:
                return f"pod {pod.name}: {pod.trouble}: {pod.message}".removesuffix(": ")
        return ""

    def _refused(self) -> str:
        return next((cluster.refusal for cluster in self.clusters if cluster.refusal), "")

    def _replaced(self) -> str:
        """Count the pods that ended before their time. They are not restarted: KubeRay puts others in their place."""
        over = [*self.lost, *(pod for pod in self.pods if (pod.ended or pod.evicted) and self.clusters)]
        if not over:
            return ""
        last = max(over, key=lambda pod: (pod.created_at, pod.version))
        why = f"it was taken away: {last.message or last.evicted}" if last.evicted else last.ended
        advice = f"; {last.shortage} → raise {self._resources(last)}" if last.shortage else ""
        count = "1 of its pods has" if len(over) == 1 else f"{len(over)} of its pods have"
        return f"{count} ended early, the last {last.name}: {why or last.trouble or 'it was deleted'}{advice}"

    def _unready(self) -> str:
        for pod in self.pods:
            if pod.unready_since is not None and self.now - pod.unready_since > UNREADY_SECONDS:
                advice = f"; {pod.shortage} → raise {self._resources(pod)}" if pod.shortage else ""
                return f"pod {pod.name} runs but is not ready: Ray does not start, or its probes fail{advice}"
        return ""

    def _missing(self) -> str:
        """Name what KubeRay has not made, where only its events say why: a quota on services, KubeRay itself."""
        late = self.now - SLOW_SECONDS
        for cluster in self.clusters:
            if not (self.pods or cluster.refusal) and cluster.created_at < late:
                return f"its Ray cluster has no pods: see kubectl describe raycluster {cluster.name}"
        for job in self.jobs:
            if not (self.clusters or self.pods or job.ended or job.terminating) and job.created_at < late:
                return f"KubeRay has made no Ray cluster: see kubectl describe rayjob {job.name}"
        return ""

    def _resources(self, pod: PodView) -> str:
        if pod.head:
            return f"the resources of its head in the profile (spec.pods.{self.stage}.head)"
        return f"spec.{self.stage}.workers.resources"

"""What the cluster shows of a job's attempts: projections of RayJobs, RayClusters and pods. Pure.

Times are in seconds since the epoch. `job_uid`, `key` (`<stage>.<attempt>`) and `managed` come from our labels, which
anybody may write: planning/ownership.py says what belongs to a job, and under which key. `owner` is the object that
controls it; `version` is the resourceVersion, which tells an old event from a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller of an object, by its ownerReference."""

    group: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ObjectView:
    """To whom any object says that it belongs."""

    namespace: str
    name: str
    uid: str
    job_uid: str
    owner: Owner | None = None
    managed: bool = False


@dataclass(frozen=True, slots=True)
class RayJobView:
    """A RayJob."""

    namespace: str
    name: str
    uid: str
    job_uid: str
    key: str
    created_at: float
    job_status: str = ""
    """Of Ray: PENDING RUNNING STOPPED SUCCEEDED FAILED, or nothing."""
    deployment_status: str = ""
    """Of KubeRay: Initializing Running Complete Failed ValidationFailed Suspended …, or nothing."""
    reason: str = ""
    message: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    """When KubeRay began to work on it, and when its job was over."""
    suspended: bool = False
    """`spec.suspend`, which belongs to a queue such as Kueue."""
    terminating: bool = False
    owner: Owner | None = None
    managed: bool = False
    version: int = field(default=0, compare=False)

    @property
    def ended(self) -> bool:
        """Say whether KubeRay is done with it."""
        return self.deployment_status in ("Complete", "Failed", "ValidationFailed")


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A RayCluster.

    `refusal` has the API server's words where KubeRay may not create or delete a pod: a quota, Pod Security, a webhook,
    a missing ServiceAccount. `held` says that it is about creating: what waits for that is nobody's failure.
    """

    namespace: str
    name: str
    uid: str
    job_uid: str
    key: str
    created_at: float
    terminating: bool = False
    refusal: str = ""
    held: bool = False
    owner: Owner | None = None
    managed: bool = False
    version: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of a Ray cluster.

    `trouble` and `message` say why it does not run: `Unschedulable` with the scheduler's words, or the reason of a
    waiting container (`ImagePullBackOff`, `CreateContainerConfigError`). `evicted` says that it was taken away:
    preempted, evicted, or its node is lost. `ended` is how its containers ended, who are not restarted; `unready_since`
    is since when it runs without being ready; `shortage` says what of its resources is less than Ray needs.
    `terminating_at` is when its grace period ends.
    """

    namespace: str
    name: str
    uid: str
    job_uid: str
    key: str
    created_at: float
    phase: str = ""
    head: bool = False
    ready: bool = False
    trouble: str = ""
    message: str = ""
    evicted: str = ""
    ended: str = ""
    unready_since: float | None = None
    shortage: str = ""
    node: str = ""
    terminating_at: float | None = None
    oom_killed: bool = False
    owner: Owner | None = None
    managed: bool = False
    version: int = field(default=0, compare=False)


Child = RayJobView | ClusterView | PodView

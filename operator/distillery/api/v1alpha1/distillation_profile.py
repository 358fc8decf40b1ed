"""DistillationProfile: what the platform team lends to jobs, and the bounds in which they move."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field, StringConstraints

from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import (
    API_VERSION,
    Annotation,
    AnnotationKey,
    DnsName,
    Duration,
    FreeForm,
    Money,
    Name,
    Storage,
)

PROFILE_KIND: Literal["DistillationProfile"] = "DistillationProfile"
DEFAULT_PROFILE_ANNOTATION: Final = "distillery.dev/is-default-profile"
"""With the value `true`: jobs that name no profile run under this one."""

IMAGE: Final = r"^[a-z0-9][-a-z0-9._:/]*(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?$"
RAY_VERSION: Final = r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$"
LABEL_KEY: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"

Image = Annotated[str, StringConstraints(pattern=IMAGE, min_length=1, max_length=512)]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]
Globs = Annotated[list[Name], Field(min_length=1, max_length=64)]


class StagePods(ApiModel):
    """The pods of a stage's Ray cluster, each a part of a PodTemplateSpec."""

    head: FreeForm | None = None
    """The pod that drives the stage. Its only container is called `ray-head`."""
    worker: FreeForm | None = None
    """The pods that share the work. Their only container is called `ray-worker`."""


class Pods(ApiModel):
    """By stage; a stage's are merged over those of `default`: mappings key by key; tolerations, volumes, env
    and volumeMounts are added, other lists replace. A template shapes where pods run and the resources, env and
    volumeMounts of their one container; anything else, a second container too, is refused. Environment and mounts of
    our own win.
    """

    default: StagePods = StagePods()
    """For every stage."""
    dataset: StagePods = StagePods()
    """For the dataset stage."""
    teacher: StagePods = StagePods()
    """For the teacher stage."""
    filter: StagePods = StagePods()
    """For the filter stage."""
    student: StagePods = StagePods()
    """For the student stage."""
    evaluation: StagePods = StagePods()
    """For the evaluation stage."""


class Ceilings(ApiModel):
    """The most that a job may ask for."""

    workers: Annotated[int, Field(ge=1, le=64)] | None = None
    """Worker pods of a stage."""
    gpus: Annotated[int, Field(ge=0, le=4096)] | None = None
    """GPUs of a stage: its workers times the GPUs of each."""
    max_cost: Money | None = None
    """The largest budget.maxCost; a job then has to set one."""
    rows: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """The largest dataset.limit; a job then has to set one."""


class Allowed(ApiModel):
    """What jobs may use, as glob patterns (`*`, `?`) for the whole name; omitted: anything."""

    teacher_hosts: Globs | None = None
    """Hosts of teacher endpoints, for example `*.example.com`."""
    base_models: Globs | None = None
    """Hub ids and addresses of base models, for example `Qwen/*` or `s3://models/*`. A model from scratch needs
    no permission.
    """


class ProfileSpec(ApiModel):
    """The platform team's settings. A job keeps those of the moment at which its generation was first seen."""

    image: Image | None = None
    """Image of head and workers; omitted: the operator's own choice."""
    image_pull_policy: PullPolicy | None = None
    """When the image is pulled; omitted: the operator's own choice."""
    image_pull_secrets: Annotated[list[DnsName], Field(max_length=8)] = []
    """Secrets of the job's namespace with which it is pulled."""
    ray_version: Annotated[str, StringConstraints(pattern=RAY_VERSION, max_length=14)] | None = None
    """Version of Ray in the image, for example `2.60.0`; omitted: the operator's own."""
    service_account_name: DnsName | None = None
    """An existing ServiceAccount of the job's namespace, for example with a cloud identity; omitted: one is made for
    each job.
    """
    storage: Storage | None = None
    """Storage of jobs that name none."""
    queue_labels: Labels = {}
    """Labels for the Ray jobs that a queueing system reads, such as `kueue.x-k8s.io/queue-name`."""
    checkpoint_window: Duration = "120s"
    """How long a stage that is told to stop may save its state."""
    pending_deadline: Duration = "15m"
    """How long pods may stay pending, beside the time in a queue, before the attempt is given up."""
    heartbeat_deadline: Duration = "5m"
    """How long a stage may be silent before the attempt is given up."""
    pods: Pods = Pods()
    """Pod templates."""
    ceilings: Ceilings = Ceilings()
    """The most that a job may ask for."""
    allowed: Allowed = Allowed()
    """What jobs may use."""


class ProfileMetadata(ApiModel):
    """The part of Kubernetes' object metadata that distillery reads; the rest is accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    name: DnsName
    """Name of the profile, as in `spec.profile` of a job."""
    uid: Name | None = None
    """Set by the API server."""
    generation: Annotated[int, Field(ge=0)] = 1
    """Set by the API server; grows with every edit of the spec."""
    annotations: Annotated[dict[AnnotationKey, Annotation], Field(max_length=256)] = {}
    """`distillery.dev/is-default-profile: "true"` makes it the profile of jobs that name none."""


class DistillationProfile(ApiModel):
    """What the platform team lends to distillations: images, pods, storage, and the bounds in which jobs move."""

    api_version: Literal["distillery.dev/v1alpha1"] = API_VERSION
    """Group and version."""
    kind: Literal["DistillationProfile"] = PROFILE_KIND
    """Kind."""
    metadata: ProfileMetadata
    """Name and annotations."""
    spec: ProfileSpec = ProfileSpec()
    """The settings."""

    @property
    def is_default(self) -> bool:
        """Whether jobs that name no profile run under this one."""
        return self.metadata.annotations.get(DEFAULT_PROFILE_ANNOTATION) == "true"

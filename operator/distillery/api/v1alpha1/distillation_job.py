"""DistillationJob: one distillation, from a dataset to an evaluated and released student."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from distillery.api.base import ApiModel
from distillery.api.teacher_settings import TeacherSettings, show_url
from distillery.api.v1alpha1.common import (
    API_VERSION,
    CURRENCY,
    DnsName,
    FreeForm,
    Metadata,
    Money,
    Storage,
)
from distillery.api.v1alpha1.dataset import Dataset
from distillery.api.v1alpha1.evaluation import Evaluation
from distillery.api.v1alpha1.filter import Filter
from distillery.api.v1alpha1.student import Student
from distillery.api.v1alpha1.task import Task
from distillery.api.v1alpha1.teacher import Teacher

KIND: Literal["DistillationJob"] = "DistillationJob"


class Release(ApiModel):
    """Publish the student under a name when the verdict passes."""

    name: DnsName
    """Name of the model family, `models/<name>/<version>/` in the store."""


class Budget(ApiModel):
    """What the job may spend."""

    max_cost: Money | None = None
    """Hard limit on reserved + spent; needs teacher.pricing."""
    max_gpu_hours: Annotated[float, Field(gt=0, le=10**6)] | None = Field(default=None, alias="maxGPUHours")
    """Hard limit on the hours of all GPUs of all attempts; a local run does not count them."""
    currency: Annotated[str, StringConstraints(pattern=CURRENCY, max_length=3)] = "USD"
    """Currency of every amount."""


class DistillationJobSpec(ApiModel):
    """The wanted distillation. Each section after `task` is a stage, in this order."""

    profile: DnsName | None = None
    """DistillationProfile to run under; omitted: the default profile, if there is one. No effect locally."""
    suspend: bool = False
    """Hold the job: nothing starts, and what runs saves its state and stops. A local run ignores it."""
    storage: Storage | None = None
    """Where artifacts live; locally omitted: a folder in the workdir."""
    task: Task
    """Production's own contract."""
    dataset: Dataset
    """Stage 1: inputs."""
    teacher: Teacher
    """Stage 2: answers."""
    filter: Filter = Filter()
    """Stage 3: answers worth learning."""
    student: Student
    """Stage 4: training."""
    evaluation: Evaluation = Evaluation()
    """Stage 5: proof."""
    release: Release | None = None
    """Published on a passing verdict."""
    budget: Budget = Budget()
    """Limits on the teacher's bill and on GPU hours."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    """The job fails when it is not done so many seconds after its first attempt; an edit, a resume or a retry
    starts the clock anew. After it has failed so, only an edit, a retry or a rerun goes on."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    """So many seconds after the end its Ray jobs are deleted; omitted: they stay. The object, its record and
    its reports always stay. No effect locally."""

    @property
    def teacher_settings(self) -> TeacherSettings:
        """How the teacher is asked: what the sections `task`, `teacher` and `budget` say of it."""
        teacher = self.teacher
        return TeacherSettings(
            identity=teacher.identity or f"{show_url(teacher.endpoint.url)}|{teacher.model}",
            model=teacher.model,
            revision=teacher.revision,
            parameters=teacher.parameters,
            system_prompt=self.task.system_prompt,
            output=self.task.output,
            url=teacher.endpoint.url,
            api_key_secret=teacher.endpoint.api_key_secret,
            rate_limits=teacher.rate_limits,
            pricing=teacher.pricing,
            max_cost=self.budget.max_cost,
            currency=self.budget.currency,
        )


class DistillationJob(ApiModel):
    """The object as users write it; `status` is accepted and ignored: `kubectl get -o yaml` returns it."""

    api_version: Literal["distillery.dev/v1alpha1"] = API_VERSION
    """Group and version."""
    kind: Literal["DistillationJob"] = KIND
    """Kind."""
    metadata: Metadata
    """Name and namespace."""
    spec: DistillationJobSpec
    """The wanted distillation."""
    status: FreeForm | None = None
    """Written by the operator."""

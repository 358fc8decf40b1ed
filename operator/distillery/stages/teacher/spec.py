"""Declaration of the teacher stage: what it needs to know, what enters its recipe."""

from __future__ import annotations

from typing import ClassVar

from distillery.api.teacher_settings import TeacherSettings
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.filter import Filter
from distillery.api.v1alpha1.teacher import Pilot, Samples
from distillery.stages.stage import Stage, StageParams


class TeacherParams(StageParams):
    """Parameters of the teacher stage. Whatever only judges the pilot or guards the money is operational."""

    operational: ClassVar[frozenset[str]] = frozenset(
        {"teacher", "pilot", "max_failed", "filter", "soft_labels", "noise_rows", "monthly_requests"}
    )

    teacher: TeacherSettings
    samples: Samples | None = None

    pilot: Pilot = Pilot()
    max_failed: float = 0.02
    filter: Filter = Filter()
    """The rules that pilot answers should pass."""
    soft_labels: bool = False
    """Whether the student's loss needs the teacher's distribution."""
    noise_rows: int = 0
    """Test rows that the evaluation asks twice; their cost is set aside with that of the test rows."""
    monthly_requests: int | None = None

    @classmethod
    def from_spec(cls, spec: DistillationJobSpec) -> TeacherParams:
        """Pick the parameters from the spec."""
        return cls(
            teacher=spec.teacher_settings,
            samples=spec.teacher.samples,
            pilot=spec.teacher.pilot,
            max_failed=spec.teacher.max_failed,
            filter=spec.filter,
            soft_labels=spec.student.loss.soft > 0,
            noise_rows=spec.evaluation.noise_rows,
            monthly_requests=spec.task.monthly_requests,
        )

    def recipe_part(self) -> dict[str, object]:
        """Return what changes answers: the settings' own recipe part and the extra samples."""
        return {**super().recipe_part(), "teacher": self.teacher.recipe_part()}


TEACHER = Stage(
    name="teacher",
    revision=1,
    params=TeacherParams,
    from_spec=TeacherParams.from_spec,
    consumes=("dataset",),
    produces="completions",
    driver="distillery.stages.teacher.driver:run",
)

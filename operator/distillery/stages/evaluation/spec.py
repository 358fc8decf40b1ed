"""The evaluation stage as declared: what its driver is told, and what names its result."""

from __future__ import annotations

from typing import ClassVar

from distillery.api.teacher_settings import TeacherSettings
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec, Release
from distillery.api.v1alpha1.evaluation import Evaluation
from distillery.api.v1alpha1.student import Base
from distillery.api.v1alpha1.task import Task
from distillery.stages.stage import Stage, StageParams


class EvaluationParams(StageParams):
    """Parameters of the evaluation. Of the teacher, only what changes answers enters the recipe."""

    operational: ClassVar[frozenset[str]] = frozenset({"teacher", "base"})

    evaluation: Evaluation
    task: Task
    """All of it: the report also shows savings from `monthlyRequests`."""
    teacher: TeacherSettings
    max_failed: float
    """Share of test rows that the teacher may leave unanswered."""
    slices: list[str] = []
    """Slices that the spec declares by `where`: they are shown even if no test row is in them."""
    release: Release | None = None
    """In the recipe: a release that is asked for later has to be published."""
    base: Base | None = None
    """For the model card; the student's own recipe covers what it changes."""

    def recipe_part(self) -> dict[str, object]:
        """Return what changes the result, with the teacher's own recipe part."""
        return {**super().recipe_part(), "teacher": self.teacher.recipe_part()}


def from_spec(spec: DistillationJobSpec) -> EvaluationParams:
    """Take the parameters out of a job's spec."""
    return EvaluationParams(
        evaluation=spec.evaluation,
        task=spec.task,
        teacher=spec.teacher_settings,
        max_failed=spec.teacher.max_failed,
        slices=[item.name for item in spec.dataset.slices if item.where is not None],
        release=spec.release,
        base=spec.student.base,
    )


EVALUATION = Stage(
    name="evaluation",
    revision=1,
    params=EvaluationParams,
    from_spec=from_spec,
    consumes=("dataset", "teacher", "filter", "student"),
    produces="predictions.parquet, metrics.json, verdict.json, report.html, a model card, a release",
    driver="distillery.stages.evaluation.driver:run",
)

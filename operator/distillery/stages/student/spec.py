"""The student stage as declared: what its driver is told, and what names its result."""

from __future__ import annotations

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.student import Student
from distillery.api.v1alpha1.task import Output
from distillery.stages.stage import Stage, StageParams


class StudentParams(StageParams):
    """Everything here changes the student, so all of it is in the recipe, except how many workers train it."""

    student: Student
    system_prompt: str | None = None
    output: Output

    def recipe_part(self) -> dict[str, object]:
        """Return what changes the student: its section without the workers, the prompt and the output."""
        section = self.student.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"workers"})
        return {**super().recipe_part(), "student": section}


def from_spec(spec: DistillationJobSpec) -> StudentParams:
    """Take the parameters out of a job's spec."""
    return StudentParams(
        student=_without_limits(spec.student),
        system_prompt=spec.task.system_prompt,
        output=spec.task.output,
    )


def _without_limits(section: Student) -> Student:
    """Leave out what only shapes the pods: no worker has a use for it, and those of 0.1.0 would refuse it."""
    if section.workers is None or section.workers.limits is None:
        return section
    workers = section.workers.model_copy(update={"limits": None})
    return section.model_copy(update={"workers": workers})


STUDENT = Stage(
    name="student",
    revision=1,
    params=StudentParams,
    from_spec=from_spec,
    consumes=("filter",),
    produces="a model folder, training_log.parquet, training.json",
    driver="distillery.stages.student.driver:run",
)

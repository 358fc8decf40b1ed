"""The filter stage as declared: what its driver is told, and what names its result."""

from __future__ import annotations

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.filter import Discard, Review, Rule
from distillery.api.v1alpha1.task import Output
from distillery.rules.filtering import build_rules
from distillery.stages.stage import Stage, StageParams


class FilterParams(StageParams):
    """Everything here decides what is kept, reported or refused, so it is in the recipe, but for the wait for a person.

    The student's loss is missing on purpose: soft labels are made wherever the teacher's logprobs allow, and
    the student takes what it needs. Switching between losses does not filter again.
    """

    rules: list[Rule]
    discard: Discard
    review: Review
    output: Output

    def recipe_part(self) -> dict[str, object]:
        """Return what changes the artifact: whether somebody must look at it does not."""
        review = self.review.model_dump(mode="json", by_alias=True, exclude={"required"})
        return {**super().recipe_part(), "review": review}


def from_spec(spec: DistillationJobSpec) -> FilterParams:
    """Take the parameters out of a job's spec. Raises: SpecError if a rule cannot be built."""
    section = spec.filter
    build_rules(section.rules)
    return FilterParams(
        rules=section.rules, discard=section.discard, review=section.review, output=spec.task.output
    )


FILTER = Stage(
    name="filter",
    revision=1,
    params=FilterParams,
    from_spec=from_spec,
    consumes=("dataset", "teacher"),
    produces="kept.parquet, rejected.parquet, review.jsonl, counts.json",
    driver="distillery.stages.filter.driver:run",
)

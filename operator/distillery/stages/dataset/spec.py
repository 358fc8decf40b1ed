"""Declaration of the dataset stage: what it needs to know, what enters its recipe."""

from __future__ import annotations

from typing import ClassVar, Literal

from distillery.api.base import WireModel
from distillery.api.teacher_settings import TeacherSettings
from distillery.api.v1alpha1.dataset import Deduplicate, Oversample, Slice, SourceFormat, Split
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.student import Base, Loss
from distillery.api.v1alpha1.task import Output
from distillery.stages.stage import Stage, StageParams

JudgedOn = Literal["references", "references if any", "agreement"]


class SourceParams(WireModel):
    """Files to read. Without endpoint or credentials those of the storage serve; who opens it knows them."""

    uri: str
    format: SourceFormat = "plain"
    endpoint: str | None = None
    credentials_secret: str | None = None


class DatasetParams(StageParams):
    """Parameters of the dataset stage. Whatever only the preflight uses is operational."""

    operational: ClassVar[frozenset[str]] = frozenset({"teacher", "base", "loss", "max_length", "judged_on"})

    sources: list[SourceParams]
    input: str | None = None
    id: str | None = None
    reference: str | None = None
    group_by: str | None = None
    slices: list[Slice] = []
    deduplicate: Deduplicate = Deduplicate()
    oversample: Oversample | None = None
    split: Split = Split()
    limit: int | None = None
    output: Output
    """Format of the references."""
    system_prompt: str | None = None
    """The task's, where rows may bring a system message of their own; None if every source is plain."""

    teacher: TeacherSettings
    base: Base
    loss: Loss = Loss()
    max_length: int | None = None
    """The student's, in tokens, where the spec sets it below what the base takes."""
    judged_on: JudgedOn = "agreement"
    """What the gates on quality compare with, so that missing references are noticed before labels are bought."""

    @classmethod
    def from_spec(cls, spec: DistillationJobSpec) -> DatasetParams:
        """Pick the parameters from the spec."""
        dataset = spec.dataset
        plain = all(source.format == "plain" for source in dataset.sources)
        return cls(
            sources=[SourceParams.model_validate(source.model_dump()) for source in dataset.sources],
            input=dataset.input,
            id=dataset.id,
            reference=dataset.reference,
            group_by=dataset.group_by,
            slices=dataset.slices,
            deduplicate=dataset.deduplicate,
            oversample=dataset.oversample,
            split=dataset.split,
            limit=dataset.limit,
            output=spec.task.output,
            system_prompt=None if plain else spec.task.system_prompt,
            teacher=spec.teacher_settings,
            base=spec.student.base,
            loss=spec.student.loss,
            max_length=spec.student.max_length,
            judged_on=judged_on(spec),
        )

    def recipe_part(self) -> dict[str, object]:
        """Return what changes the inputs table: of a source, only its address and format."""
        sources = [{"uri": source.uri, "format": source.format} for source in self.sources]
        return {**super().recipe_part(), "sources": sources}


def judged_on(spec: DistillationJobSpec) -> JudgedOn:
    """Return what the evaluation's gates on quality will compare with."""
    gates = spec.evaluation.gates
    if gates.retention is None and gates.slices is None:
        return "agreement"
    wanted = gates.retention.basis if gates.retention is not None else None
    if wanted == "reference" or (wanted is None and spec.task.output.format == "text"):
        return "references"
    return "references if any" if wanted is None else "agreement"


DATASET = Stage(
    name="dataset",
    revision=1,
    params=DatasetParams,
    from_spec=DatasetParams.from_spec,
    consumes=(),
    produces="inputs per split, coverage, leak audit",
    driver="distillery.stages.dataset.driver:run",
)

"""Spec → Plan: five frozen StageRuns, each with its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distillery.api.v1alpha1.distillation_job import Budget, DistillationJob
from distillery.artifacts import layout
from distillery.artifacts.manifest import digest
from distillery.stages.catalog import STAGES
from distillery.stages.identity import recipe_of
from distillery.stages.report import Outcome
from distillery.stages.stage import StageName, StageRecipe, StageRun
from distillery.stages.versions import version_of


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that follows from the spec and its storage. `runs` are in stage order."""

    generation: int
    spec_digest: str
    runs: tuple[StageRun, ...]
    budget: Budget
    storage_uri: str
    release: str | None
    review_required: bool = False
    deadline_seconds: int | None = None

    @property
    def recipes(self) -> dict[str, str]:
        """The recipe of each stage."""
        return {run.stage: run.recipe for run in self.runs}

    def run(self, stage: StageName) -> StageRun:
        """Return the run of a stage. Raises: KeyError if the plan ends before it."""
        return {run.stage: run for run in self.runs}[stage]

    def address(self, outcome: Outcome, name: str) -> str:
        """Return where a payload file of a committed artifact lies; the artifact if its writer is not known."""
        if not outcome.writer:
            return f"{self.storage_uri}/{layout.artifact(outcome.stage, outcome.identity)}"
        return f"{self.storage_uri}/{layout.writer(outcome.stage, outcome.identity, outcome.writer)}{name}"


def recipes_of(job: DistillationJob, reruns: Mapping[StageName, str]) -> dict[str, str]:
    """Return the recipe of each stage, as this release makes it.

    Args:
        job: the validated object.
        reruns: latched rerun requests by stage; each makes that stage's recipe a new one.
    """
    return {
        stage.name: recipe_of(stage, stage.from_spec(job.spec), reruns.get(stage.name)) for stage in STAGES
    }


def build_plan(
    job: DistillationJob,
    uid: str,
    storage_uri: str,
    *,
    until: StageName | None = None,
    recipes: Mapping[str, str] | None = None,
) -> Plan:
    """Build the plan of a job.

    Args:
        job: the validated object.
        uid: of the object (locally the workdir's id); names the ledger.
        storage_uri: where artifacts lie, for links in the status.
        until: leave out the stages after this one.
        recipes: by stage, to be taken instead of those that this release makes.
    """
    spec_digest = digest(job.spec.model_dump(mode="json", by_alias=True, exclude_none=True))
    params = {stage.name: stage.from_spec(job.spec) for stage in STAGES}
    given = recipes or {}
    chain = [
        StageRecipe(
            stage=stage.name,
            recipe=given.get(stage.name) or recipe_of(stage, params[stage.name], None),
            consumes=list(stage.consumes),
        )
        for stage in STAGES
    ]
    last = len(STAGES) if until is None else [stage.name for stage in STAGES].index(until) + 1
    runs = tuple(
        StageRun(
            version=version_of(params[entry.stage]),
            stage=entry.stage,
            recipe=entry.recipe,
            params=params[entry.stage].to_wire(),
            consumes=entry.consumes,
            later=chain[index + 1 : last],
            spec_digest=spec_digest,
            job_name=job.metadata.name,
            job_uid=uid,
        )
        for index, entry in enumerate(chain[:last])
    )
    return Plan(
        generation=job.metadata.generation,
        spec_digest=spec_digest,
        runs=runs,
        budget=job.spec.budget,
        storage_uri=storage_uri.rstrip("/"),
        release=job.spec.release.name if job.spec.release else None,
        review_required=job.spec.filter.review.required,
        deadline_seconds=job.spec.active_deadline_seconds,
    )

"""Small builders of core values for tests."""

from __future__ import annotations

from distillery.api.v1alpha1.distillation_job import Budget
from distillery.planning.plan import Plan
from distillery.stages.report import Outcome, Report
from distillery.stages.stage import StageName, StageRecipe, StageRun

CONSUMES: dict[StageName, list[StageName]] = {
    "dataset": [],
    "teacher": ["dataset"],
    "filter": ["dataset", "teacher"],
    "student": ["filter"],
    "evaluation": ["dataset", "teacher", "filter", "student"],
}


def make_plan(edits: dict[StageName, int] | None = None, generation: int = 1) -> Plan:
    """Return a plan whose recipes are readable: `teacher-0`, or `teacher-2` after two edits of that section."""
    recipes = [
        StageRecipe(stage=stage, recipe=f"{stage}-{(edits or {}).get(stage, 0)}", consumes=consumes)
        for stage, consumes in CONSUMES.items()
    ]
    runs = tuple(
        StageRun(
            stage=entry.stage,
            recipe=entry.recipe,
            params={},
            consumes=entry.consumes,
            later=recipes[index + 1 :],
            spec_digest="spec",
            job_name="job",
            job_uid="uid",
        )
        for index, entry in enumerate(recipes)
    )
    return Plan(generation, "spec", runs, Budget(), "file:///store", None)


def make_outcome(stage: StageName, identity: str, digest: str | None = None, **summary: object) -> Outcome:
    """Return a committed artifact whose output digest follows from its identity."""
    return Outcome(
        stage=stage,
        identity=identity,
        output_digest=digest or f"out-{identity[:12]}",
        summary=dict(summary),
        writer="w1",
    )


def make_report(stage: StageName, recipe: str, attempt: int, **fields: object) -> Report:
    """Return a report of an attempt."""
    return Report.model_validate({"stage": stage, "recipe": recipe, "attempt": attempt, "at": 1.0, **fields})

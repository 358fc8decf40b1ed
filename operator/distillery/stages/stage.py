"""What a stage is: its declaration, and the StageRun that one attempt executes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from distillery.api.base import WireModel
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.artifacts.manifest import Parent

StageName = Literal["dataset", "teacher", "filter", "student", "evaluation"]
STAGE_NAMES: tuple[StageName, ...] = ("dataset", "teacher", "filter", "student", "evaluation")


class StageParams(WireModel):
    """What a driver is told. Fields named in `operational` reach the driver but do not enter the recipe."""

    operational: ClassVar[frozenset[str]] = frozenset()

    def recipe_part(self) -> dict[str, object]:
        """Return the JSON form of the fields that matter to the result."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set(self.operational))


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage, declared once. `driver` is `package.module:function`, resolved only where the stage runs.

    `revision` is raised when the code changes what the same parameters produce. `consumes` lists the stages whose
    artifacts are read; their output digests enter the identity.
    """

    name: StageName
    revision: int
    params: type[StageParams]
    from_spec: Callable[[DistillationJobSpec], StageParams]
    consumes: tuple[StageName, ...]
    produces: str
    driver: str


class StageRecipe(WireModel):
    """A later stage as seen from an earlier one: enough to look for its artifact."""

    stage: StageName
    recipe: str
    consumes: list[StageName]


class StageRun(WireModel):
    """One stage of one plan, frozen: everything an attempt needs beside secrets and the store's credentials."""

    version: int = 1
    stage: StageName
    recipe: str
    params: dict[str, object]
    consumes: list[StageName]
    later: list[StageRecipe] = []
    parents: list[Parent] = []
    """Every earlier committed artifact: `consumes` names those that are read, the rest only name later identities."""
    spec_digest: str
    job_name: str
    job_uid: str

"""The catalog: every stage, in the order of the spec's sections. A new stage is one line here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from distillery.stages.context import StageContext, StageResult
from distillery.stages.dataset.spec import DATASET
from distillery.stages.evaluation.spec import EVALUATION
from distillery.stages.filter.spec import FILTER
from distillery.stages.stage import Stage
from distillery.stages.student.spec import STUDENT
from distillery.stages.teacher.spec import TEACHER

STAGES: tuple[Stage, ...] = (DATASET, TEACHER, FILTER, STUDENT, EVALUATION)

Driver = Callable[[StageContext], StageResult]


def stage_named(name: str) -> Stage:
    """Return the stage of this name. Raises: KeyError."""
    return {stage.name: stage for stage in STAGES}[name]  # type: ignore[index]


def load_driver(stage: Stage) -> Driver:
    """Import and return the stage's driver; only where the stage runs."""
    module, _, function = stage.driver.partition(":")
    return cast(Driver, getattr(import_module(module), function))

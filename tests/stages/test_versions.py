"""What an assignment uses decides which workers may read it, and nobody can add a field and forget to say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from builders import make_plan
from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import Storage
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.stages.assignment import Assignment
from distillery.stages.catalog import STAGES
from distillery.stages.stage import StageParams
from distillery.stages.versions import NEWEST, READERS, Since, since, version_of
from manifests.rendering import SPEC, make_assignment, make_spec

KNOWN = Path(__file__).parent / "known_to_0.1.0.json"
"""Fields and choices that the workers of the first release know, by model: `python tests/stages/test_versions.py`
writes it, and must be run on the code of that release only."""
NEVER_SENT = {"Workers.limits"}
"""Fields of the spec that `from_spec` leaves out of what a worker is told."""


class Inner(ApiModel):
    """A section of the spec."""

    old: int = 1
    new: Annotated[int | None, Since(3)] = None


class Toy(StageParams):
    """Parameters as a later release might have them."""

    old: str = "x"
    kind: Annotated[Literal["plain", "chat"], Since(2, frozenset({"chat"}))] = "plain"
    kinds: Annotated[list[str], Since(2, frozenset({"chat"}))] = []
    new: Annotated[list[int], Since(2)] = Field(default_factory=list)
    inner: Inner = Inner()
    many: list[Inner] = []
    named: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ({}, 1),
        ({"old": "y", "inner": {"old": 2}, "many": [{}]}, 1),
        ({"new": []}, 1),
        ({"new": [1]}, 2),
        ({"kind": "chat"}, 2),
        ({"kinds": ["plain"]}, 1),
        ({"kinds": ["plain", "chat"]}, 2),
        ({"inner": {"new": 0}}, 3),
        ({"new": [1], "many": [{}, {"new": 1}]}, 3),
        ({"named": {"a": {"new": 1}}}, 3),
    ],
)
def test_the_version_is_that_of_the_newest_field_that_is_used(fields: dict[str, Any], version: int) -> None:
    assert version_of(Toy.model_validate(fields)) == version


def test_a_field_without_a_default_is_always_used() -> None:
    class Required(StageParams):
        new: Annotated[int, Since(4)]

    assert version_of(Required(new=0)) == 4


def test_an_assignment_has_the_version_of_its_run_and_one_that_uses_nothing_new_keeps_the_first() -> None:
    plain = make_assignment("student", make_spec())
    assert plain.versioned() == plain
    newer = plain.model_copy(update={"run": plain.run.model_copy(update={"version": 3})})
    assert newer.versioned().version == 3
    assert {run.version for run in make_plan().runs} == {1}


def test_what_only_shapes_the_pods_reaches_no_worker_and_no_recipe() -> None:
    resources = {"cpu": 2, "memory": "4Gi"}
    plain = make_spec(student={"workers": {"resources": resources}})
    limited = make_spec(student={"workers": {"resources": resources, "limits": {"memory": "8Gi"}}})
    for stage in STAGES:
        assert stage.from_spec(limited).to_wire() == stage.from_spec(plain).to_wire()


def test_every_version_names_the_release_that_reads_it() -> None:
    declared = {mark.version for field in fields_of_all().values() for mark in since(field)}
    assert sorted(READERS) == list(range(1, NEWEST + 1))
    assert declared <= set(READERS)


def test_every_field_and_choice_that_the_first_workers_do_not_know_is_declared() -> None:
    known = set(json.loads(KNOWN.read_text()))
    fields = fields_of_all()
    for name in sorted(vocabulary() - known - NEVER_SENT):
        place, _, choice = name.partition("=")
        marks = since(fields[place])
        assert any(not mark.values or choice in map(str, mark.values) for mark in marks), (
            f"{name} is new to the workers of 0.1.0: declare it with Since(version) and add the version to READERS"
        )


def models(model: type[BaseModel], seen: dict[str, type[BaseModel]]) -> None:
    """Collect a model and all that it holds, by class name."""
    if model.__name__ in seen:
        return
    seen[model.__name__] = model
    for field in model.model_fields.values():
        for part in parts(field.annotation):
            models(part, seen)


def parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from parts(argument)


def all_models() -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for root in (Assignment, *(stage.params for stage in STAGES)):
        models(root, found)
    return found


def fields_of_all() -> dict[str, Any]:
    return {
        f"{name}.{key}": field
        for name, model in all_models().items()
        for key, field in model.model_fields.items()
    }


def choices(annotation: Any) -> Iterator[Any]:
    if getattr(annotation, "__origin__", None) is Literal:
        yield from annotation.__args__
        return
    for argument in getattr(annotation, "__args__", ()):
        yield from choices(argument)


def vocabulary() -> set[str]:
    """Return `Model.field` and `Model.field=choice` of everything that a worker may be told."""
    fields = fields_of_all()
    told = {f"{place}={choice}" for place, field in fields.items() for choice in choices(field.annotation)}
    return {*fields, *told}


def test_the_vocabulary_reaches_into_sections_unions_and_choices() -> None:
    assert {"Workers.replicas", "Pilot.rows", "Storage.uri", "StudentParams.student"} <= vocabulary()
    assert any(name.startswith("SourceParams.format=") for name in vocabulary())
    assert DistillationJobSpec.model_validate(SPEC)
    assert Storage.model_fields


if __name__ == "__main__":
    KNOWN.write_text(json.dumps(sorted(vocabulary()), indent=0) + "\n")

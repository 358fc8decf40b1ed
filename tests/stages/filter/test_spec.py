from __future__ import annotations

import sys
from typing import Any

import pytest

import children
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import SpecError
from distillery.stages.filter.spec import FILTER, FilterParams
from distillery.stages.identity import recipe_of

SPEC: dict[str, Any] = {
    "task": {"output": {"format": "json", "schema": {"const": None}}},
    "dataset": {"sources": [{"uri": "file:///tickets.jsonl"}], "input": "{body}"},
    "teacher": {"model": "large", "endpoint": {"url": "http://localhost/v1"}},
    "student": {"base": {"hub": "small"}},
}


def recipe(**sections: Any) -> str:
    spec = DistillationJobSpec.model_validate({**SPEC, **sections})
    return recipe_of(FILTER, FILTER.from_spec(spec))


EDITS: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing": ({}, False),
    "the default rules written out": (
        {"filter": {"rules": [{"format": {}}, {"length": {}}, {"refusal": {}}]}},
        False,
    ),
    "another rule": ({"filter": {"rules": [{"format": {}}]}}, True),
    "another order of rules": (
        {"filter": {"rules": [{"length": {}}, {"format": {}}, {"refusal": {}}]}},
        True,
    ),
    "another limit": ({"filter": {"discard": {"max": 0.9}}}, True),
    "another review": ({"filter": {"review": {"sample": 7}}}, True),
    "another output": ({"task": {"output": {"format": "text"}}}, True),
    "another prompt": ({"task": {**SPEC["task"], "systemPrompt": "Route."}}, False),
    "expected traffic": ({"task": {**SPEC["task"], "monthlyRequests": 9}}, False),
    "another loss": ({"student": {**SPEC["student"], "loss": {"hard": 0.5, "soft": 0.5}}}, False),
    "another gate": ({"evaluation": {"gates": {"retention": {"min": 0.5}}}}, False),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_recipe_changes_with_what_the_filter_does(edit: str) -> None:
    sections, want = EDITS[edit]
    assert (recipe(**sections) != recipe()) is want


def test_params_survive_the_way_to_the_driver() -> None:
    params = FILTER.from_spec(DistillationJobSpec.model_validate(SPEC))
    assert FilterParams.model_validate(params.to_wire()) == params


def test_a_broken_rule_is_refused_before_anything_runs() -> None:
    with pytest.raises(SpecError, match="patterns"):
        recipe(filter={"rules": [{"refusal": {"patterns": ["("]}}]})


def test_the_declaration_is_light() -> None:
    heavy = "pyarrow,jsonschema,numpy,torch,ray,transformers"
    code = (
        "import sys, distillery.stages.filter.spec\n"
        f"print([name for name in '{heavy}'.split(',') if name in sys.modules])"
    )
    done = children.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": "operator"},
    )
    assert done.stdout.strip() == "[]"

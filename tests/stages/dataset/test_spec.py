"""What names a dataset, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.stages.catalog import load_driver
from distillery.stages.dataset.spec import DATASET, DatasetParams
from distillery.stages.identity import recipe_of

SPEC: dict[str, Any] = {
    "storage": {"uri": "s3://models/x", "endpoint": "http://s3:9000", "credentialsSecret": "s3"},
    "task": {
        "systemPrompt": "Route.",
        "output": {"format": "label", "labels": ["a", "b"]},
        "monthlyRequests": 5,
    },
    "dataset": {"sources": [{"uri": "s3://logs/*.jsonl"}], "input": "{text}"},
    "teacher": {
        "model": "large",
        "endpoint": {"url": "http://teacher/v1", "apiKeySecret": {"name": "teacher", "key": "key"}},
        "parameters": {"topLogprobs": 5},
    },
    "student": {"base": {"architecture": {"model_type": "llama"}}, "loss": {"hard": 0.5, "soft": 0.5}},
}


def edited(*path: str | int, value: object) -> DistillationJobSpec:
    def put(node: Any, path: tuple[str | int, ...]) -> Any:
        if not path:
            return value
        head, *rest = path
        if isinstance(node, list):
            return [put(item, tuple(rest)) if index == head else item for index, item in enumerate(node)]
        return {**(node or {}), head: put((node or {}).get(head), tuple(rest))}

    return DistillationJobSpec.model_validate(put(SPEC, path))


def recipe(spec: DistillationJobSpec) -> str:
    return recipe_of(DATASET, DATASET.from_spec(spec))


SAME: list[tuple[tuple[str | int, ...], object]] = [
    (("storage", "uri"), "file:///elsewhere"),
    (("storage", "credentialsSecret"), "other"),
    (("task", "monthlyRequests"), 6),
    (("task", "systemPrompt"), "Route well."),
    (("dataset", "sources", 0, "endpoint"), "http://other:9000"),
    (("dataset", "sources", 0, "credentialsSecret"), "logs"),
    (("dataset", "split"), {"validation": 0.05, "test": 0.1, "seed": 17}),
    (("teacher", "model"), "larger"),
    (("teacher", "pricing"), {"promptPerMillion": "1", "completionPerMillion": "2"}),
    (("student", "base", "architecture", "model_type"), "gpt2"),
    (("student", "loss"), {"hard": 1, "soft": 0}),
    (("student", "maxLength"), 64),
    (("evaluation",), {"gates": {"retention": {"min": 0.9, "basis": "teacher"}}}),
    (("budget",), {"maxCost": None}),
]
OTHER: list[tuple[tuple[str | int, ...], object]] = [
    (("task", "output", "labels"), ["a", "c"]),
    (("dataset", "sources", 0, "uri"), "s3://logs/b*.jsonl"),
    (("dataset", "sources", 0, "format"), "chat"),
    (("dataset", "input"), "{body}"),
    (("dataset", "id"), "id"),
    (("dataset", "reference"), "answer"),
    (("dataset", "groupBy"), "thread"),
    (("dataset", "slices"), [{"name": "german", "where": {"lang": "de"}}]),
    (("dataset", "slices"), [{"name": "german", "where": {"lang": None}}]),
    (("dataset", "deduplicate"), {"near": 0.8}),
    (("dataset", "oversample"), {"slices": ["x"]}),
    (("dataset", "split"), {"seed": 18}),
    (("dataset", "limit"), 50),
]


@pytest.mark.parametrize(("path", "value"), SAME)
def test_how_things_are_reached_and_later_sections_do_not_name_a_dataset(
    path: tuple[str | int, ...], value: object
) -> None:
    assert recipe(edited(*path, value=value)) == recipe(DistillationJobSpec.model_validate(SPEC))


@pytest.mark.parametrize(("path", "value"), OTHER)
def test_what_changes_the_inputs_names_another_dataset(path: tuple[str | int, ...], value: object) -> None:
    assert recipe(edited(*path, value=value)) != recipe(DistillationJobSpec.model_validate(SPEC))


def test_the_task_prompt_matters_where_rows_bring_their_own() -> None:
    chat = [{"uri": "s3://logs/*.jsonl", "format": "chat"}]
    recipes = set()
    for prompt in ("Route.", "Route well."):
        task = SPEC["task"] | {"systemPrompt": prompt}
        dataset = {"sources": chat}
        recipes.add(recipe(DistillationJobSpec.model_validate(SPEC | {"task": task, "dataset": dataset})))
    assert len(recipes) == 2


def test_params_survive_the_wire() -> None:
    spec = edited("dataset", "slices", value=[{"name": "none", "where": {"lang": None, "n": [1, True, "x"]}}])
    params = DATASET.from_spec(spec)
    assert DatasetParams.model_validate(params.to_wire()) == params


def test_the_driver_is_where_the_stage_says() -> None:
    assert load_driver(DATASET).__module__ == "distillery.stages.dataset.driver"

import sys
from typing import Any

import pytest

import children
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.stages.evaluation.spec import EVALUATION, EvaluationParams, from_spec
from distillery.stages.identity import recipe_of

SPEC: dict[str, Any] = {
    "task": {
        "systemPrompt": "Route.",
        "output": {"format": "label", "labels": ["billing", "login"]},
        "monthlyRequests": 1000,
    },
    "dataset": {
        "sources": [{"uri": "file:///data/rows.jsonl"}],
        "input": "{text}",
        "slices": [{"name": "german", "where": {"lang": "de"}}, {"name": "category", "byColumn": "category"}],
    },
    "teacher": {"model": "large", "endpoint": {"url": "http://127.0.0.1:1/v1"}, "identity": "large@example"},
    "student": {"base": {"hub": "small/model"}},
    "evaluation": {"gates": {"retention": {"min": 0.9}}, "noiseRows": 50},
    "release": {"name": "router"},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return SPEC with the field at the dotted path set."""
    *folders, last = path.split(".")
    spec: dict[str, Any] = {**SPEC}
    here = spec
    for folder in folders:
        here[folder] = {**here.get(folder, {})}
        here = here[folder]
    here[last] = value
    return spec


def recipe(spec: dict[str, Any]) -> str:
    return recipe_of(EVALUATION, from_spec(DistillationJobSpec.model_validate(spec)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("evaluation.gates.retention.min", 0.8),
        ("evaluation.noiseRows", 60),
        ("evaluation.seed", 3),
        ("evaluation.metrics", ["accuracy"]),
        ("task.systemPrompt", "Route it."),
        ("task.monthlyRequests", 2000),
        ("teacher.revision", "2"),
        ("teacher.maxFailed", 0.5),
        ("release.name", "other"),
        ("dataset.slices", []),
    ],
)
def test_what_changes_the_result_changes_the_recipe(path: str, value: Any) -> None:
    assert recipe(changed(path, value)) != recipe(SPEC)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("teacher.endpoint.url", "http://127.0.0.1:2/v1"),
        ("teacher.endpoint.apiKeySecret", {"name": "teacher", "key": "k"}),
        ("teacher.pricing", {"promptPerMillion": "1", "completionPerMillion": "2"}),
        ("teacher.rateLimits.concurrency", 2),
        ("budget.maxCost", "5.00"),
        ("student.base.hub", "other/model"),
        ("student.epochs", 7),
        ("filter.review.sample", 3),
    ],
)
def test_what_does_not_leaves_it(path: str, value: Any) -> None:
    spec = changed(path, value)
    if path == "budget.maxCost":
        spec["teacher"] = {
            **SPEC["teacher"],
            "pricing": {"promptPerMillion": "1", "completionPerMillion": "2"},
        }
    assert recipe(spec) == recipe(SPEC)


def test_parameters_survive_the_wire_and_carry_the_declared_slices() -> None:
    params = from_spec(DistillationJobSpec.model_validate(SPEC))
    assert params.slices == ["german"]
    assert EvaluationParams.model_validate(params.to_wire()) == params


def test_the_declaration_loads_nothing_heavy() -> None:
    code = (
        "import sys, distillery.stages.evaluation.spec\n"
        "print(sorted({'numpy', 'scipy', 'torch', 'ray', 'pyarrow', 'jinja2', 'aiohttp'} & set(sys.modules)))"
    )
    found = children.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import children
from api.manifests import GOOD, replaced
from distillery.api.fields import walk
from distillery.api.paths import format_path, place
from distillery.api.v1alpha1.checks import CHECKS
from distillery.api.v1alpha1.distillation_job import DistillationJob, DistillationJobSpec
from distillery.api.validation import load_job, validate_job
from distillery.api.yaml import load_yaml
from distillery.errors import SpecError

GOOD_BUT_SHORT = "apiVersion: distillery.dev/v1alpha1\nkind: DistillationJob\nspec: {}\n"
SPEC = DistillationJob.model_validate(load_yaml(GOOD, "good.yaml")).spec


def said(text: str, *overrides: tuple[str, object]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load_job(text, file="job.yaml", overrides=overrides)
    return [str(problem) for problem in caught.value.problems]


def outcome(text: str, *overrides: tuple[str, object]) -> list[str]:
    try:
        load_job(text, file="job.yaml", overrides=overrides)
    except SpecError as error:
        return [str(problem) for problem in error.problems]
    return []


def spec_with(*overrides: tuple[str, object]) -> DistillationJobSpec:
    return load_job(GOOD, file="job.yaml", overrides=overrides).spec


@pytest.mark.parametrize(
    ("path", "value", "want"),
    [
        ("spec.student.epochs", "5", 5),
        ("spec.student.optimizer.learningRate", "1e-4", 1e-4),
        ("spec.student.optimizer.betas[1]", "0.98", 0.98),
        ("spec.dataset.sources[0].format", "plain", "plain"),
        ("spec.teacher.parameters.stop", "[x, z]", ["x", "z"]),
        ("spec.teacher.parameters.stop[0]", "x", "x"),
        ("spec.budget.maxCost", "20", "20"),
        ("spec.budget.maxCost", "0.10", "0.10"),
        ("spec.budget.maxCost", '"7.5"', "7.5"),
        ("spec.budget.maxCost", "null", None),
        ("spec.budget.maxCost", "", None),
        ("spec.teacher.revision", "2026-11", "2026-11"),
        ("spec.teacher.revision", "2026", "2026"),
        ("spec.teacher.revision", "1.10", "1.10"),
        ("spec.teacher.revision", '"2026"', "2026"),
        ("spec.dataset.input", "{text}", "{text}"),
        ("spec.task.systemPrompt", "Answer: one word, @once", "Answer: one word, @once"),
        ("spec.release", "{name: router}", {"name": "router"}),
        ("spec.release.name", "router", "router"),
        ("spec.evaluation.noiseRows", 50, 50),
    ],
)
def test_an_override_is_read_as_yaml_where_text_is_not_wanted(path: str, value: object, want: Any) -> None:
    start = [("spec.student.optimizer.betas", "[0.9, 0.999]")]
    found: Any = spec_with(*start, (path, value)).model_dump(by_alias=True)
    for step in path.replace("]", "").replace("[", ".").split(".")[1:]:
        found = found[int(step) if step.isdecimal() else step]
    assert found == want


def test_overrides_are_applied_in_order_and_named_in_problems() -> None:
    assert said(GOOD, ("spec.student.epochs", "many"), ("spec.teacher.parameters.topLogprobs", "99")) == [
        "--set: spec.teacher.parameters.topLogprobs: 99 is out of range → must be at most 20",
        "--set: spec.student.epochs: 'many' is not a number → write a number without quotes",
    ]
    assert spec_with(("spec.student.epochs", "many"), ("spec.student.epochs", "2")).student.epochs == 2


@pytest.mark.parametrize(
    ("path", "value", "want"),
    [
        ("spec..x", "1", "--set spec..x: this is no field path"),
        ("", "1", "--set : this is no field path"),
        ("[0]", "1", "--set [0]: this is no field path"),
        (
            "spec.dataset.sources[3].uri",
            "x",
            "--set spec.dataset.sources[3].uri: spec.dataset.sources has no [3]",
        ),
        ("spec.teacher.model.name", "x", "--set spec.teacher.model.name: spec.teacher.model has no fields"),
        ("spec.teacher[0]", "x", "--set spec.teacher[0]: spec.teacher is no list"),
        ("spec.student", "{a: 1, a: 2}", "--set spec.student: the key 'a' is written twice"),
        ("spec.student.epochs", "[", "--set spec.student.epochs: the file ends in the middle of a value"),
    ],
)
def test_an_override_that_cannot_be_applied_is_explained(path: str, value: str, want: str) -> None:
    assert [line[: len(want)] for line in said(GOOD, (path, value))] == [want]


def test_null_fields_count_as_absent() -> None:
    text = replaced(GOOD, "  budget:", "  storage: null\n  filter:\n  budget:")
    assert load_job(text, file="job.yaml") == load_job(GOOD, file="job.yaml")
    assert said(replaced(GOOD, "    model: large\n", "    model:\n")) == [
        "job.yaml:13: spec.teacher.model: is required → add it (model name sent to the endpoint)"
    ]
    assert said(replaced(GOOD, "[billing, login, refund]", "[billing, null]")) == [
        "job.yaml:6: spec.task.output.labels[1]: is empty → give it a value or remove it"
    ]


def test_what_kubectl_returns_is_accepted() -> None:
    text = GOOD.replace(
        "metadata: {name: tickets}",
        "metadata: {name: tickets, namespace: support, uid: 7f3c, generation: 4, resourceVersion: '9',\n"
        "  creationTimestamp: null, managedFields: [{}], labels: {a: b}, annotations: {c: d}}",
    )
    job = load_job(text + "status: {phase: Running, conditions: []}\n", file="job.yaml")
    assert (job.metadata.uid, job.metadata.generation, job.metadata.annotations) == ("7f3c", 4, {"c": "d"})


def test_a_faulty_section_does_not_hide_contradictions_elsewhere() -> None:
    text = replaced(GOOD, "  evaluation:", "  surprise: 1\n  release: {nam: x}\n  evaluation:")
    text = replaced(text, "{hard: 0.5, soft: 0.5}", "{hard: 0, soft: 0, sft: 1}")
    text = replaced(text, "reference: category", "groupBy: category\n    reference: category")
    assert said(text) == [
        "job.yaml:10: spec.dataset.groupBy: 'category' is the known answer: each answer would be in one split "
        "only → name a column such as a conversation's id",
        "job.yaml:20: spec.student.loss.sft: there is no such field → did you mean 'soft'?",
        "job.yaml:20: spec.student.loss: hard and soft are both 0 → write loss: {hard: 1, soft: 0}",
        "job.yaml:21: spec.surprise: there is no such field → allowed here: profile, suspend, storage, task, "
        "dataset, teacher, filter, student, evaluation, release, budget, activeDeadlineSeconds, "
        "ttlSecondsAfterFinished",
        "job.yaml:22: spec.release.name: is required → add it (name of the model family, "
        "`models/<name>/<version>/` in the store)",
        "job.yaml:22: spec.release.nam: there is no such field → did you mean 'name'?",
    ]


def test_a_contradiction_that_may_follow_from_a_misspelt_field_is_not_reported() -> None:
    text = replaced(GOOD, "{topLogprobs: 20}", "{topLogProbs: 20}")
    assert said(text) == [
        "job.yaml:15: spec.teacher.parameters.topLogProbs: there is no such field → did you mean 'topLogprobs'?"
    ]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_rule_reads_only_what_it_says(check: Any) -> None:
    sections = {read.split(".")[0] for read in check.reads}
    attributes = {"schema" if name == "schema_" else name for name in DistillationJobSpec.model_fields}
    assert sections <= attributes
    partial = DistillationJobSpec.model_construct(**{name: getattr(SPEC, name) for name in sections})
    for name in attributes - sections:
        partial.__dict__.pop(name, None)
    assert list(check.judge(partial)) == []
    known = {".".join(str(step) for step in path) for path, _ in walk(DistillationJobSpec)}
    assert set(check.reads) <= known


SECRET = "https://hunter:sk-proj-abcdefghijklmnop@example.com"


@pytest.mark.parametrize("value", [SECRET, [SECRET], {SECRET: 1}, {"x": SECRET}, [{SECRET: SECRET}]])
def test_a_secret_in_the_wrong_place_is_never_repeated(value: object) -> None:
    for path, _ in walk(DistillationJobSpec):
        said = "".join(outcome(GOOD_BUT_SHORT, (format_path(("spec", *path)), value)))
        assert "sk-proj" not in said, said
        assert "hunter" not in said, said


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
PATHS = [path for path, _ in walk(DistillationJob)]


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=4))
def test_any_value_at_any_place_gives_a_job_or_plain_problems(changes: list[tuple[Any, Any]]) -> None:
    data = load_yaml(GOOD, "good.yaml")
    for path, value in changes:
        try:
            place(data, path, value)
        except LookupError:
            continue
    problems: list[str] = []
    try:
        job = validate_job(data)
    except SpecError as error:
        problems = [str(problem) for problem in error.problems] or ["pydantic"]
    else:
        assert validate_job(job.model_dump(mode="json", by_alias=True, exclude_none=True)) == job
    jargon = ("Input should", "alue error", "pydantic")
    assert [line for line in problems if any(word in line for word in jargon)] == []


@settings(max_examples=200, deadline=None)
@given(text=st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_gives_plain_problems(text: bytes | str) -> None:
    with pytest.raises(SpecError):
        load_job(text, file="job.yaml")


def test_importing_the_api_loads_nothing_heavy() -> None:
    heavy = {
        "ray",
        "torch",
        "transformers",
        "pyarrow",
        "numpy",
        "aiohttp",
        "jsonschema",
        "ruamel.yaml",
        "boto3",
    }
    code = "import sys, distillery.api.validation, distillery.api.v1alpha1.status; print(*sys.modules, sep='\\n')"
    ran = children.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy & set(ran.stdout.split()) == set()

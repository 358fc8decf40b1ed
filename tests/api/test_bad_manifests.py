from __future__ import annotations

import pickle
import re
import time
from collections.abc import Iterator

import pytest

from api.manifests import GOOD, BadManifest, bad_manifests, replaced
from distillery.api.bounds import JOB_PARTS, PROFILE_PARTS, check_bounds
from distillery.api.crd import job_definition, profile_definition
from distillery.api.schemas import schema_problem
from distillery.api.v1alpha1.checks import CHECKS
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.validation import load_job, validate_job
from distillery.api.yaml import load_yaml
from distillery.errors import Problem, SpecError

BAD = bad_manifests()


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        load_job(text, file="job.yaml")
    return caught.value.problems


def test_the_good_manifest_is_good() -> None:
    assert load_job(GOOD.encode(), file="job.yaml").metadata.name == "tickets"


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_bad_manifest_is_explained(bad: BadManifest) -> None:
    assert [str(problem) for problem in problems_of(bad.text)] == bad.want


def test_there_are_many_bad_manifests_and_all_are_different() -> None:
    assert len(BAD) > 95
    assert len({bad.name for bad in BAD}) == len({bad.text for bad in BAD}) == len(BAD)


def test_no_message_shows_a_secret_or_speaks_of_the_library() -> None:
    said = "\n".join(line for bad in BAD for line in bad.want)
    leaked = [
        word for word in ("pydantic", "errors.", "sk-123", "hunter2", "None", "dict", "str ") if word in said
    ]
    assert leaked == []


def test_every_rule_fires_for_some_bad_manifest() -> None:
    fired: set[str] = set()
    for bad in BAD:
        try:
            spec = DistillationJobSpec.model_validate(load_yaml(bad.text, "job.yaml")["spec"])
        except (ValueError, KeyError, SpecError):
            continue
        fired |= {check.name for check in CHECKS if list(check.judge(spec))}
    assert fired == {check.name for check in CHECKS}


def test_free_form_parts_are_limited_in_bytes() -> None:
    text = replaced(GOOD, "where: {lang: de}", f"where: {{lang: {'ä' * 17000}}}")
    assert problems_of(text) == (
        Problem(
            "spec.dataset.slices[0].where",
            "has 34,012 bytes as JSON",
            "at most 32,768 bytes are allowed",
            "job.yaml:11",
        ),
    )


@pytest.mark.parametrize("depth", [64, 65, 75, 90])
def test_free_form_parts_are_limited_in_depth(depth: int) -> None:
    deep = "{model_type: " + "[" * (depth - 1) + "]" * (depth - 1) + "}"
    text = replaced(GOOD, "hub: organisation/model", f"architecture: {deep}")
    bound = Problem(
        "spec.student.base.architecture",
        f"is nested {depth} deep",
        "flatten it: at most 64 are allowed",
        "job.yaml:18",
    )
    whole = Problem("job.yaml:18", "values are nested more than 80 deep", "flatten them")
    assert set(problems_of(text)) & {bound, whole} == ({64: set(), 90: {whole}}.get(depth, {bound}))


def test_free_form_parts_are_limited_together() -> None:
    slices = ", ".join(f"{{name: s{n}, where: {{lang: {'a' * 30000}}}}}" for n in range(10))
    document = load_yaml(GOOD, "job.yaml")
    document["spec"]["dataset"]["slices"] = load_yaml(f"a: [{slices}]", "slices")["a"]
    with pytest.raises(SpecError) as caught:
        validate_job(document)
    assert [str(problem) for problem in caught.value.problems] == [
        "spec.dataset.slices[0].where: has 30,012 bytes as JSON, and together with others of its kind 300,120"
        " → at most 262,144 bytes are allowed together"
    ]


@pytest.mark.parametrize("depth", [65, 100, 128, 190])
def test_whatever_the_api_server_holds_is_judged_by_its_depth(depth: int) -> None:
    """Checks that follow a part into its depth are not asked about one that is too deep."""
    for key in ("not", "properties"):
        deep: dict = {}
        for _ in range(depth - 1):
            deep = {key: deep}
        document = load_yaml(GOOD, "job.yaml")
        document["spec"]["task"]["output"] = {"format": "json", "schema": deep}
        document["spec"]["student"]["base"] = {
            "architecture": deep,
            "tokenizer": {"train": {"vocabSize": 500}},
        }
        with pytest.raises(SpecError) as caught:
            validate_job(document)
        said = [(problem.path, problem.message) for problem in caught.value.problems]
        words = f"is nested {depth} deep" if depth < 100 else "is nested 100 or more deep"
        assert ("spec.task.output.schema", words) in said
        assert ("spec.student.base.architecture", words) in said


def test_every_free_form_field_of_the_crds_is_bounded() -> None:
    for definition, patterns in ((job_definition(), JOB_PARTS), (profile_definition(), PROFILE_PARTS)):
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        found = set(free_form(schema, "spec"))
        wanted = {re.escape(pattern).replace(r"\*", "[^.]+") for pattern in patterns}
        assert found
        assert [path for path in found if not any(re.fullmatch(pattern, path) for pattern in wanted)] == []


def free_form(schema: dict, path: str) -> Iterator[str]:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from free_form(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from free_form(schema[key], f"{path}.*")


@pytest.mark.parametrize("wide", [[{}] * 300_000, {str(key): 0 for key in range(100_000)}, "x" * 1_000_000])
def test_what_is_far_too_large_is_not_counted_to_its_end(wide: object) -> None:
    """The operator's event loop, and its Lease with it, waits for each such object."""
    document = load_yaml(GOOD, "job.yaml")
    document["spec"]["student"]["base"] = {"architecture": {"a": wide}}
    started = time.process_time()
    with pytest.raises(SpecError) as caught:
        check_bounds(document, JOB_PARTS)
    assert time.process_time() - started < 0.1
    assert [str(problem) for problem in caught.value.problems] == [
        "spec.student.base.architecture: has more than 131,072 bytes as JSON → at most 32,768 bytes are allowed"
    ]


def test_what_is_as_large_as_the_api_server_admits_is_refused_in_no_time() -> None:
    document = load_yaml(GOOD, "job.yaml")
    document["spec"]["student"]["base"] = {"architecture": {"a": [{} for _ in range(500_000)]}}
    started = time.process_time()
    with pytest.raises(SpecError):
        validate_job(document)
    assert time.process_time() - started < 2


def test_a_schema_that_is_just_not_too_deep_can_be_checked() -> None:
    deep: dict = {}
    for _ in range(63):
        deep = {"not": deep}
    assert schema_problem(deep) is None


def test_a_long_list_of_problems_is_cut() -> None:
    labels = ", ".join(f"' x{number:02}'" for number in range(80))
    found = problems_of(replaced(GOOD, "billing, login, refund", labels))
    assert len(found) == 51
    assert found[-1] == Problem("job.yaml", "30 more problems", "repair these first")


def test_problems_come_in_the_order_of_the_file() -> None:
    lines = [int(problem.place.split(":")[1]) for problem in problems_of(BAD[-1].text)]
    assert lines == sorted(lines)


def test_the_error_survives_pickling() -> None:
    error = SpecError(*problems_of(BAD[-1].text))
    assert pickle.loads(pickle.dumps(error)).problems == error.problems

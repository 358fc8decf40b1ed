from __future__ import annotations

import pickle

import pytest

from api.manifests import GOOD, BadManifest, bad_manifests, replaced
from distillery.api.v1alpha1.checks import CHECKS
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.validation import load_job
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
    fired = {"free_form_parts_are_too_large"}  # its manifest would fill the table: see the test below
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

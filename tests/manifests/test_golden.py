from __future__ import annotations

from typing import Any

import pytest
from ruamel.yaml import YAML

from manifests.golden import FOLDER, dump, golden_objects
from manifests.kuberay import validator
from manifests.rendering import CASES, Case
from manifests.restricted import offences, with_init_container

OBJECTS = golden_objects()
needs_crd = pytest.mark.needs_tools("KubeRay's CRD")


def templates(rayjob: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    workers = [with_init_container(group["template"]) for group in cluster["workerGroupSpecs"]]
    return [cluster["headGroupSpec"]["template"], *workers]


def test_there_is_one_golden_file_for_each_object_and_no_other() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(OBJECTS)


@pytest.mark.parametrize("name", OBJECTS)
def test_what_is_rendered_is_what_was_reviewed(name: str) -> None:
    golden = (FOLDER / f"{name}.yaml").read_text()
    assert dump(OBJECTS[name]) == golden, "if this is wanted: python tests/manifests/golden.py"
    assert YAML(typ="safe").load(golden) == OBJECTS[name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_pod_passes_restricted_pod_security_with_the_container_that_kuberay_adds(case: Case) -> None:
    for template in templates(case.render()):
        assert offences(template) == []


@needs_crd
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kuberays_own_schema_accepts_every_rayjob_without_dropping_a_field(case: Case) -> None:
    errors = validator().iter_errors(case.render())
    assert [f"{error.json_path}: {error.message[:200]}" for error in errors] == []


@needs_crd
def test_the_schema_check_notices_a_misspelt_field() -> None:
    rayjob = CASES[0].render()
    rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["nodeSelectors"] = {}
    assert not validator().is_valid(rayjob)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "hostNetwork"), True),
        (("spec", "volumes"), [{"name": "disk", "hostPath": {"path": "/"}}]),
        (("spec", "securityContext", "runAsUser"), 0),
        (("spec", "securityContext", "sysctls"), []),
        (("spec", "containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
        (("spec", "containers", 0, "securityContext", "capabilities"), {"drop": ["ALL"], "add": ["CHOWN"]}),
        (("spec", "containers", 0, "securityContext", "privileged"), False),
        (("spec", "containers", 0, "securityContext"), None),
        (("spec", "containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}]),
    ],
)
def test_the_security_check_notices_what_the_standard_forbids(
    path: tuple[str | int, ...], value: object
) -> None:
    template = YAML(typ="safe").load(dump(CASES[0].render()))["spec"]["rayClusterSpec"]["headGroupSpec"][
        "template"
    ]
    part = template
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    assert offences(template) != []

"""The definitions of the kinds: generated, structural, bounded, and in step with the checks and the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distillery.api import crd
from distillery.api.cel.rule import Cel
from distillery.api.cel.tables import JOB_RULES, PROFILE_RULES
from distillery.api.structural import Structure
from distillery.api.v1alpha1.checks import CHECKS
from distillery.api.v1alpha1.checks.profile import PROFILE_CHECKS
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.distillation_profile import ProfileSpec
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml

FOLDER = Path(__file__).parents[2] / "crds"
DEFINITIONS = {"job": crd.job_definition(), "profile": crd.profile_definition()}
SCHEMAS = {name: it["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for name, it in DEFINITIONS.items()}

ONLY_THE_OPERATOR = {
    "labels_look_alike": "Unicode folding (the server finds equal ones)",
    "labels_begin_each_other": "Unicode folding",
    "schema_is_invalid": "a schema is free-form",
    "labels_exceed_the_answer": "words of a label",
    "stop_cuts_labels": "cost: every stop with every label",
    "length_rejects_labels": "words of a label",
    "refusal_patterns_are_wrong": "Python's regular expressions",
    "architecture_has_no_type": "free-form",
    "architecture_does_not_divide": "free-form",
    "architecture_sets_the_vocabulary": "free-form",
    "length_exceeds_the_model": "free-form",
    "limits_are_below_requests": "amounts of any unit",
    "slices_have_no_condition": "free-form (the server finds empty ones)",
    "templates_are_none": "free-form",
    "storage_is_wrong": "judged under the names of a job's own storage",
}


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema inside a schema with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from parts(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from parts(schema[key], f"{path}[]")


ALL = [(name, path, part) for name, schema in SCHEMAS.items() for path, part in parts(schema)]


def test_the_files_are_up_to_date() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == crd.files()


def test_the_files_hold_the_definitions(tmp_path: Path) -> None:
    crd.main(str(tmp_path / "new"))
    names = {"job": "distillationjobs", "profile": "distillationprofiles"}
    for key, plural in names.items():
        name = f"distillery.dev_{plural}.yaml"
        assert load_yaml((tmp_path / "new" / name).read_text(), name) == DEFINITIONS[key]


def test_schemas_use_the_structural_dialect_only() -> None:
    allowed = {
        *(
            "type",
            "description",
            "properties",
            "required",
            "items",
            "additionalProperties",
            "enum",
            "default",
        ),
        *(
            "format",
            "pattern",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
        ),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "x-kubernetes-validations"),
        *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
        *("x-kubernetes-map-type", "x-kubernetes-int-or-string"),
    }
    for name, path, part in ALL:
        choice = {"anyOf"} if part.get("x-kubernetes-int-or-string") else {"type"}
        assert set(part) <= allowed | choice, (name, path)
        assert choice <= set(part), (name, path)
        assert not {"properties", "additionalProperties"} <= set(part), (name, path)
        assert isinstance(part.get("exclusiveMinimum", False), bool), (name, path)


def test_everything_that_can_grow_is_bounded() -> None:
    limits = {
        "string": {"maxLength", "enum"},
        "array": {"maxItems"},
        "object": {"maxProperties", "properties"},
        "integer": {"maximum", "format"},
    }
    unbounded = [
        (name, path)
        for name, path, part in ALL
        if part.get("type") in limits and not limits[part["type"]] & set(part)
        # The server's own fields, and rules without a setting.
        if path not in (".apiVersion", ".kind") and not re.search(r"rules\[\]\.format$|method\.full$", path)
    ]
    assert unbounded == []


def test_every_list_says_how_it_is_merged() -> None:
    found = {
        (name, path): part.get("x-kubernetes-list-map-keys", part.get("x-kubernetes-list-type"))
        for name, path, part in ALL
        if part.get("type") == "array"
    }
    assert None not in found.values()
    assert {path: how for (_, path), how in found.items() if how != "atomic"} == {
        ".spec.task.output.labels": "set",
        ".spec.dataset.slices": ["name"],
        ".spec.dataset.oversample.slices": "set",
        ".spec.evaluation.metrics": "set",
        ".status.conditions": ["type"],
        ".status.stages": ["name"],
    }


def test_every_field_is_described_for_kubectl_explain() -> None:
    bare = [
        (name, path)
        for name, path, part in ALL
        if not path.endswith("[]") and not path.startswith(".metadata") and not part.get("description")
    ]
    assert bare == []
    spec = SCHEMAS["job"]["properties"]["spec"]["properties"]
    assert (
        spec["student"]["properties"]["epochs"]["description"] == "Passes over the training rows. Default: 3."
    )


def test_the_server_sets_no_default_but_suspend_and_the_generation() -> None:
    assert [(path, part["default"]) for _, path, part in ALL if "default" in part] == [
        (".spec.suspend", False),
        (".status", {"observedGeneration": -1}),
    ]


def test_names_are_those_of_the_design() -> None:
    assert {
        name: (it["spec"]["scope"], it["spec"]["names"]["shortNames"], it["spec"]["names"]["categories"])
        for name, it in DEFINITIONS.items()
    } == {"job": ("Namespaced", ["dj"], ["distillery"]), "profile": ("Cluster", ["dp"], ["distillery"])}
    columns = DEFINITIONS["job"]["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [(column["name"], column.get("priority", 0)) for column in columns] == [
        *((name, 0) for name in ("Phase", "Stage", "Progress", "Retention", "Cost", "Age")),
        ("Message", 1),
    ]


def rules() -> list[Cel]:
    return [rule for table in (JOB_RULES, PROFILE_RULES) for entry in table.values() for rule in entry]


def test_every_check_is_judged_by_the_server_or_says_why_not() -> None:
    named = {rule.check for rule in rules()}
    known = {check.name for check in CHECKS} | {check.__name__ for check in PROFILE_CHECKS}
    assert named <= known
    assert known - named == set(ONLY_THE_OPERATOR)


def test_every_rule_says_what_is_wrong_and_what_to_write() -> None:
    assert all(rule.message and rule.repair and rule.check for rule in rules())


@pytest.mark.parametrize(
    ("model", "table"),
    [(DistillationJobSpec, JOB_RULES), (ProfileSpec, PROFILE_RULES)],
    ids=["job", "profile"],
)
def test_every_rule_has_a_place_in_the_schema(model: type, table: dict[str, list[Cel]]) -> None:
    structure = Structure(model, table, {})
    structure.schema()
    assert set(table) <= structure.places


def test_every_extra_has_a_place_in_a_schema() -> None:
    met: set[str] = set()
    for model in (DistillationJobSpec, ProfileSpec, Status):
        structure = Structure(model, {}, {})
        structure.schema()
        met |= structure.places
    assert set(crd.EXTRA) | set(crd.STATUS_EXTRA) <= met


def default_of(schema: dict[str, Any], path: list[str]) -> object:
    for step in path:
        schema = schema["properties"][step]
    found = re.search(r"Default: (.*)\.$", schema["description"])
    return found and found[1]


def test_defaults_that_rules_repeat_are_those_of_the_models() -> None:
    found = set()
    for name, path, part in ALL:
        for rule in part.get("x-kubernetes-validations", ()):
            for field, value in re.findall(r"\? self\.([A-Za-z.]+)(?:\[1\])? : ([0-9.]+)\)", rule["rule"]):
                stated = str(default_of(part, field.split(".")))
                stated = stated.strip("[]").rpartition(", ")[2]
                assert float(stated) == float(value), (name, path, field)
                found.add(field)
    assert len(found) >= 10


def test_a_status_as_the_operator_writes_it_fits_the_schema() -> None:
    schema = SCHEMAS["job"]["properties"]["status"]
    assert set(Status().to_wire()) <= set(schema["properties"])
    assert "required" not in schema

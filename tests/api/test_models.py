from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1.common import MONEY, Workers, gpus_of_worker, seconds_of
from distillery.api.v1alpha1.conditions import (
    MAX_MESSAGE,
    Condition,
    ConditionType,
    Reason,
    find_condition,
    keep_transition_times,
)
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.distillation_profile import DistillationProfile
from distillery.api.v1alpha1.status import CostStatus, GateStatus, StageStatus, Status

SCHEMAS = {
    "profile": DistillationProfile.model_json_schema(by_alias=True),
    "job": DistillationJob.model_json_schema(by_alias=True),
    "status": Status.model_json_schema(by_alias=True, mode="serialization"),
}


def parts(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema inside a schema with its path."""
    if isinstance(schema, dict):
        if "type" in schema or "properties" in schema:
            yield path, schema
        for name, inner in schema.items():
            yield from parts(inner, f"{path}/{name}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from parts(inner, f"{path}/{index}")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_list_text_and_map_is_bounded(name: str) -> None:
    bounds = {
        "string": {"maxLength", "enum", "const"},
        "array": {"maxItems"},
        "object": {"maxProperties", "properties"},
    }
    unbounded = [
        path
        for path, part in parts(SCHEMAS[name])
        if isinstance(part.get("type"), str)
        and part["type"] in bounds
        and not bounds[part["type"]] & set(part)
        and not (part["type"] == "object" and not part.get("additionalProperties"))
    ]
    assert unbounded == []


def test_every_whole_number_that_users_write_is_bounded() -> None:
    limits = {"maximum", "exclusiveMaximum"}
    numbers = [(p, part) for p, part in parts(SCHEMAS["job"]["$defs"]) if part.get("type") == "integer"]
    assert [p for p, part in numbers if not limits & set(part) and "generation" not in p] == []
    assert len(numbers) > 15


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_is_described_in_a_sentence(name: str) -> None:
    bare = [
        f"{path}/{field}"
        for path, part in parts(SCHEMAS[name])
        for field, inner in part.get("properties", {}).items()
        # A section that is described as its model is has the description there.
        if not inner.get("description", "." if "$ref" in inner else "").rstrip().endswith(".")
    ]
    assert bare == []


def test_money_is_a_bounded_decimal_text_on_the_wire() -> None:
    money = SCHEMAS["job"]["$defs"]["Pricing"]["properties"]["promptPerMillion"]
    assert money == {"description": "Prompt tokens.", "type": "string", "pattern": MONEY, "maxLength": 19,
                     "title": "Promptpermillion"}  # fmt: skip
    assert CostStatus(spent="1.20", budget="0").to_wire() == {
        "spent": "1.20",
        "budget": "0",
        "currency": "USD",
    }


@pytest.mark.parametrize(
    "amount", ["-1", "1e3", "1.", ".5", "NaN", " 1", "1_0", "1.2345678", "1" * 13, 1, 1.5, True, None]
)
def test_what_is_no_money_is_refused(amount: object) -> None:
    with pytest.raises(ValueError, match="decimal string"):
        CostStatus.model_validate({"spent": [amount] if amount is None else amount})


def test_a_status_nobody_has_judged_says_so() -> None:
    assert Status().to_wire() == {
        "observedGeneration": -1,
        "conditions": [],
        "phase": "Pending",
        "progress": {"percent": 0.0, "message": ""},
        "stages": [],
        "cost": {"currency": "USD"},
        "handled": {},
    }


def test_a_status_of_another_release_is_read() -> None:
    wire = Status(stages=[StageStatus(name="teacher", state="Running")]).to_wire()
    assert Status.model_validate(wire | {"novelty": 1}) == Status.model_validate(wire)


def condition(type_: ConditionType, status: str, at: str) -> Condition:
    return Condition.model_validate(
        {"type": type_, "status": status, "reason": Reason.RUNNING, "lastTransitionTime": at}
    )


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    before = [
        condition(ConditionType.READY, "False", "10:00"),
        condition(ConditionType.STALLED, "True", "10:00"),
    ]
    wanted = [
        condition(ConditionType.READY, "False", "11:00"),
        condition(ConditionType.STALLED, "False", "11:00"),
        condition(ConditionType.COMPLETE, "True", "11:00"),
    ]
    kept = keep_transition_times(before, wanted)
    assert [(c.type, c.status, c.last_transition_time) for c in kept] == [
        ("Ready", "False", "10:00"),
        ("Stalled", "False", "11:00"),
        ("Complete", "True", "11:00"),
    ]
    assert find_condition(kept, ConditionType.COMPLETE) == wanted[2]
    assert find_condition(kept, ConditionType.SUSPENDED) is None


def test_a_long_message_is_cut_and_never_an_error() -> None:
    assert len(GateStatus(name="retention", result="failed", message="x" * 5000).message) == MAX_MESSAGE


def test_durations_are_read_in_seconds() -> None:
    assert [seconds_of(text) for text in ("90s", "15m", "1h30m", "2h5s", "0s")] == [90, 900, 5400, 7205, 0]


@pytest.mark.parametrize("amount", ["", "-1", "1.", ".5", "1 Gi", "1gi", "1e3", -1, 1.5, True, 10**12])
def test_what_is_no_quantity_is_refused(amount: object) -> None:
    with pytest.raises(ValueError, match="quantity"):
        Workers.model_validate({"resources": {"cpu": amount}})


def test_quantities_are_kept_as_text() -> None:
    workers = Workers.model_validate({"resources": {"nvidia.com/gpu": 1, "cpu": "500m", "memory": "1.5Gi"}})
    assert workers.resources == {"nvidia.com/gpu": "1", "cpu": "500m", "memory": "1.5Gi"}


@given(
    st.dictionaries(st.sampled_from(["nvidia.com/gpu", "amd.com/gpu", "cpu", "x/gpus"]), st.integers(0, 99))
)
def test_gpus_are_counted_by_the_name_of_the_device(resources: dict[str, int]) -> None:
    wanted = sum(amount for name, amount in resources.items() if name.endswith("/gpu"))
    assert gpus_of_worker({name: str(amount) for name, amount in resources.items()}) == wanted


def test_reasons_and_types_are_camel_case_words_spelt_once() -> None:
    words = [*Reason, *ConditionType]
    assert all(word.value.isalpha() and word.value[0].isupper() for word in words)
    assert [word.name.replace("_", "").lower() for word in words] == [word.value.lower() for word in words]

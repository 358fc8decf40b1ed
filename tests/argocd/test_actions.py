"""Argo CD's actions: offered only when they have an effect, and each sets one annotation and nothing else."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from ruamel.yaml import YAML

from argocd.argo import JOB, act, offered, run
from argocd.endings import LATER, live_object, statuses
from distillery.planning.control import APPROVE, control_of, parse_time
from distillery.stages.stage import STAGE_NAMES

ACTIONS = JOB / "actions"
RERUNS = [f"rerun-{stage}" for stage in STAGE_NAMES]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
TABLE = YAML(typ="safe", pure=True).load(ACTIONS / "action_test.yaml")

OFFERED = {
    "first-submission": ["cancel", "suspend"],
    "running-dataset": ["cancel", "suspend"],
    "running-teacher": ["cancel", "rerun-dataset", "suspend"],
    "running-filter": ["cancel", "rerun-dataset", "rerun-teacher", "suspend"],
    "running-student": ["cancel", "rerun-dataset", "rerun-filter", "rerun-teacher", "suspend"],
    "running-evaluation": ["cancel", *sorted(RERUNS[:4]), "suspend"],
    "complete": sorted(RERUNS),
    "gates-failed": sorted(RERUNS),
    "gates-undecided": sorted(RERUNS),
    "failed": ["rerun-dataset", "retry"],
    "retries-exhausted": ["rerun-dataset", "retry"],
    "budget-reached": ["rerun-dataset", "retry"],
    "pilot-rejected": ["rerun-dataset", "retry"],
    "invalid-data": ["retry"],
    "invalid-spec": [],
    "cancelled": ["rerun-dataset", "retry"],
    "backing-off": ["cancel", "rerun-dataset", "suspend"],
    "profile-missing": ["cancel", "suspend"],
    "refused-at-first": ["cancel", "suspend"],
    "refused-at-work": ["cancel", "rerun-dataset", "rerun-filter", "rerun-teacher", "suspend"],
    "refused-while-suspended": ["cancel", "rerun-dataset", "resume"],
    "release-not-published": ["cancel", *sorted(RERUNS), "suspend"],
    "bug": ["cancel", "rerun-dataset", "rerun-filter", "rerun-teacher", "suspend"],
    "stopping-to-cancel": ["rerun-dataset", "suspend"],
    "stopping-to-suspend": ["cancel", "rerun-dataset", "resume"],
    "suspended": ["cancel", "rerun-dataset", "resume"],
    "suspended-for-review": ["cancel", "rerun-dataset", "rerun-filter", "rerun-teacher", "resume"],
    "review-pending": [
        "approve-review",
        "cancel",
        "rerun-dataset",
        "rerun-filter",
        "rerun-teacher",
        "suspend",
    ],
}


def read(name: str) -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(ACTIONS / name))


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items()}
    if isinstance(value, str) and not value.startswith(LATER):
        return re.sub(rf"^{TIME}(?=$|/)", "0001-01-01T00:00:00Z", value)
    return value


def test_what_is_offered_follows_from_the_status() -> None:
    assert {name: offered(live_object(status)) for name, status in statuses().items()} == OFFERED


@pytest.mark.parametrize("test", TABLE["discoveryTests"], ids=lambda test: test["inputPath"])
def test_discovery_gives_what_its_table_says(test: dict[str, Any]) -> None:
    found = run((ACTIONS / "discovery.lua").read_text(), read(test["inputPath"])) or {}
    assert [{"name": name, **found[name]} for name in sorted(found)] == test["result"]


@pytest.mark.parametrize("test", TABLE["actionTests"], ids=lambda test: test["action"])
def test_an_action_leaves_what_its_table_says(test: dict[str, Any]) -> None:
    left = act(test["action"], read(test["inputPath"]))
    wanted = read(test["expectedOutputPath"])
    assert timeless(left["metadata"]["annotations"]) == wanted["metadata"]["annotations"]
    assert (
        without_annotations(left)
        == without_annotations(wanted)
        == without_annotations(read(test["inputPath"]))
    )


def without_annotations(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
    return {**obj, "metadata": metadata}


def test_every_offered_action_is_defined_and_every_definition_is_offered_somewhere() -> None:
    defined = {path.parent.name for path in ACTIONS.glob("*/action.lua")}
    assert defined == {action for actions in OFFERED.values() for action in actions}


@pytest.mark.parametrize("name", sorted(OFFERED))
def test_each_action_sets_one_annotation_that_the_operator_understands_and_nothing_else(name: str) -> None:
    before = live_object(statuses()[name], **{"app_id": "7"})
    for action in OFFERED[name]:
        after = act(action, before)
        assert without_annotations(after) == without_annotations(before)
        annotations = after["metadata"]["annotations"]
        assert annotations["distillery.dev/app-id"] == "7"
        assert len(annotations) == 2
        control = control_of(annotations, False, before["status"].get("handled", {}), time.time())
        assert control.complaints == ()
        assert control.handled != before["status"].get("handled", {})


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_a_rerun_names_its_stage_and_the_time(stage: str) -> None:
    annotations = act(f"rerun-{stage}", live_object(statuses()["complete"]))["metadata"]["annotations"]
    (value,) = annotations.values()
    assert re.fullmatch(rf"{TIME}/{stage}", value)
    assert parse_time(value.split("/")[0]) is not None
    assert control_of(annotations, False, {}, time.time()).reruns == {stage: value}


def test_an_approval_names_the_result_that_was_reviewed() -> None:
    job = live_object(statuses()["review-pending"])
    identity = next(stage["identity"] for stage in job["status"]["stages"] if stage["name"] == "filter")
    annotations = act("approve-review", job)["metadata"]["annotations"]
    assert annotations == {f"distillery.dev/{APPROVE}": identity}
    assert "approve-review" not in offered(live_object(statuses()["review-pending"], approve_review=identity))
    assert "approve-review" in offered(live_object(statuses()["review-pending"], approve_review="older"))


@pytest.mark.parametrize(
    ("name", "action", "request_"),
    [
        ("running-teacher", "suspend", "suspend_requested_at"),
        ("running-teacher", "cancel", "cancel_requested_at"),
        ("suspended", "resume", "resume_requested_at"),
        ("failed", "retry", "retry_requested_at"),
    ],
)
def test_a_request_that_the_operator_has_not_carried_out_yet_is_not_offered_again(
    name: str, action: str, request_: str
) -> None:
    status = statuses()[name]
    assert action in offered(live_object(status))
    assert action not in offered(live_object(status, **{request_: "2026-11-20T00:00:00Z"}))
    noted = status.model_copy(
        update={"handled": {**status.handled, request_.replace("_", "-"): "2026-11-20T00:00:00Z"}}
    )
    assert action in offered(live_object(noted, **{request_: "2026-11-20T00:00:00Z"}))


def test_no_second_rerun_is_offered_until_the_first_is_noted() -> None:
    status, value = statuses()["complete"], "2026-11-20T00:00:00Z/student"
    assert offered(live_object(status, rerun_requested_at=value)) == []
    noted = status.model_copy(update={"handled": {"rerun-requested-at/student": value}})
    assert offered(live_object(noted, rerun_requested_at=value)) == sorted(RERUNS)


def test_a_suspension_in_the_spec_is_lifted_in_git_not_by_an_action() -> None:
    job = live_object(statuses()["suspended"])
    job["spec"]["suspend"] = True
    assert offered(job) == ["cancel", "rerun-dataset"]

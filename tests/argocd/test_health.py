"""Argo CD's view of a job: Healthy, Progressing, Degraded with the reason, Suspended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from argocd.argo import JOB, PROFILE, health
from argocd.endings import live_object, statuses

EXPECTED = {
    "first-submission": "Progressing",
    "running-dataset": "Progressing",
    "running-teacher": "Progressing",
    "running-filter": "Progressing",
    "running-student": "Progressing",
    "running-evaluation": "Progressing",
    "complete": "Healthy",
    "gates-failed": "Degraded",
    "gates-undecided": "Degraded",
    "failed": "Degraded",
    "retries-exhausted": "Degraded",
    "budget-reached": "Degraded",
    "pilot-rejected": "Degraded",
    "invalid-data": "Degraded",
    "invalid-spec": "Degraded",
    "cancelled": "Degraded",
    "backing-off": "Progressing",
    "profile-missing": "Progressing",
    "refused-at-first": "Progressing",
    "refused-at-work": "Progressing",
    "refused-while-suspended": "Suspended",
    "release-not-published": "Progressing",
    "bug": "Progressing",
    "stopping-to-cancel": "Progressing",
    "stopping-to-suspend": "Suspended",
    "suspended": "Suspended",
    "suspended-for-review": "Suspended",
    "review-pending": "Suspended",
}


def read(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def cases(folder: Path) -> list[Any]:
    tests = read(folder / "health_test.yaml")["tests"]
    return [pytest.param(folder, test, id=f"{folder.name}-{Path(test['inputPath']).stem}") for test in tests]


@pytest.mark.parametrize(("folder", "test"), [*cases(JOB), *cases(PROFILE)])
def test_each_fixture_has_the_health_that_its_table_says(folder: Path, test: dict[str, Any]) -> None:
    wanted = test["healthStatus"]
    assert health(read(folder / test["inputPath"]), folder) == (wanted["status"], wanted.get("message", ""))


@pytest.mark.parametrize("folder", [JOB, PROFILE])
def test_every_fixture_is_in_the_table(folder: Path) -> None:
    listed = {Path(test["inputPath"]).name for test in read(folder / "health_test.yaml")["tests"]}
    assert listed == {path.name for path in (folder / "testdata").iterdir()}


def test_every_status_that_planning_writes_has_its_health() -> None:
    found = {name: health(live_object(status))[0] for name, status in statuses().items()}
    assert found == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_edit_that_the_operator_has_not_seen_is_progress_whatever_was_before(name: str) -> None:
    edited = live_object(statuses()[name], generation=2)
    assert health(edited) == ("Progressing", "waiting for the operator to see the edit")


@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": -1}, {"observedGeneration": 1}])
def test_an_object_without_conditions_is_progressing(status: dict[str, Any] | None) -> None:
    job = {**live_object(None), "status": status}
    assert health(job) == ("Progressing", "waiting for the operator")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gates-failed", "GateFailed: the evaluation's verdict is failed"),
        ("failed", "TooManyFailed: teacher: as the worker reported it"),
        ("budget-reached", "BudgetReached: teacher: as the worker reported it"),
        ("cancelled", "Cancelled: cancelled on request; a retry request starts it again"),
    ],
)
def test_a_bad_end_says_why(name: str, message: str) -> None:
    assert health(live_object(statuses()[name])) == ("Degraded", message)


def test_work_says_what_and_how_far() -> None:
    message = "student, 66 %: StageRunning: student attempt 1 is running"
    assert health(live_object(statuses()["running-student"])) == ("Progressing", message)

"""What kubectl wait, Flux and every other reader of kstatus conclude from the statuses that planning writes.

The rules are those of sigs.k8s.io/cli-utils/pkg/kstatus for kinds that it does not know by name.
"""

from __future__ import annotations

from typing import Any

import pytest

from argocd.endings import live_object, statuses

CURRENT, IN_PROGRESS, FAILED, TERMINATING = "Current", "InProgress", "Failed", "Terminating"
EXPECTED = {
    "first-submission": IN_PROGRESS,
    "running-dataset": IN_PROGRESS,
    "running-teacher": IN_PROGRESS,
    "running-filter": IN_PROGRESS,
    "running-student": IN_PROGRESS,
    "running-evaluation": IN_PROGRESS,
    "complete": CURRENT,
    "gates-failed": FAILED,
    "gates-undecided": FAILED,
    "failed": FAILED,
    "retries-exhausted": FAILED,
    "budget-reached": FAILED,
    "pilot-rejected": FAILED,
    "invalid-data": FAILED,
    "invalid-spec": FAILED,
    "cancelled": FAILED,
    "backing-off": IN_PROGRESS,
    "profile-missing": IN_PROGRESS,
    "refused-at-first": IN_PROGRESS,
    "refused-at-work": IN_PROGRESS,
    "refused-while-suspended": IN_PROGRESS,
    "release-not-published": IN_PROGRESS,
    "bug": IN_PROGRESS,
    "stopping-to-cancel": IN_PROGRESS,
    "stopping-to-suspend": IN_PROGRESS,
    "suspended": IN_PROGRESS,
    "suspended-for-review": IN_PROGRESS,
    "review-pending": IN_PROGRESS,
}


def kstatus(obj: dict[str, Any]) -> str:
    """Apply the rules in their order."""
    metadata, status = obj["metadata"], obj.get("status", {})
    if "deletionTimestamp" in metadata:
        return TERMINATING
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        return IN_PROGRESS
    conditions = status.get("conditions", [])
    for condition in conditions:
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return IN_PROGRESS
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return FAILED
    for condition in conditions:
        if condition["type"] == "Ready":
            return CURRENT if condition["status"] == "True" else IN_PROGRESS
    return CURRENT


def test_every_moment_and_every_end_is_read_as_what_it_is() -> None:
    assert {name: kstatus(live_object(status)) for name, status in statuses().items()} == EXPECTED


def test_a_new_object_is_not_taken_for_a_finished_one() -> None:
    assert kstatus(live_object(None)) == IN_PROGRESS


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_edit_is_in_progress_until_the_operator_has_seen_it(name: str) -> None:
    assert kstatus(live_object(statuses()[name], generation=2)) == IN_PROGRESS


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_exactly_one_of_ready_reconciling_and_stalled_holds(name: str) -> None:
    conditions = {condition.type: condition.status for condition in statuses()[name].conditions}
    assert sorted(conditions[kind] for kind in ("Ready", "Reconciling", "Stalled")) == [
        "False",
        "False",
        "True",
    ]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_complete_goes_with_ready_and_failed_with_stalled(name: str) -> None:
    conditions = {condition.type: condition.status for condition in statuses()[name].conditions}
    assert (conditions["Complete"], conditions["Failed"]) == (conditions["Ready"], conditions["Stalled"])

"""What is told about a job is what has changed, once, with the words that matter."""

from __future__ import annotations

from typing import Any

import pytest

from distillery.api.v1alpha1.conditions import Condition, ConditionType
from distillery.api.v1alpha1.status import StageStatus, Status
from distillery.planning.transitions import Transition, transitions


def stage(**fields: Any) -> StageStatus:
    return StageStatus.model_validate({"name": "teacher", "identity": "0123456789abcdef", **fields})


def status(
    *stages: StageStatus, reason: str = "StageRunning", stalled: bool = False, message: str = "m"
) -> Status:
    conditions = [
        Condition(
            type=kind,
            status="True" if holds else "False",
            reason=reason,
            message=message,
            last_transition_time="2026-11-03T12:30:00Z",
        )
        for kind, holds in ((ConditionType.RECONCILING, not stalled), (ConditionType.STALLED, stalled))
    ]
    return Status(stages=list(stages), conditions=conditions)


RUNNING = stage(state="Running", attempt=1)
DONE = stage(state="Succeeded", attempt=1)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (Status(), status(), []),
        (status(RUNNING), status(RUNNING, message="other words"), []),
        (status(), status(RUNNING), [Transition("Normal", "StageStarted", "teacher attempt 1 started")]),
        (
            status(RUNNING),
            status(DONE),
            [Transition("Normal", "StageSucceeded", "teacher 0123456789ab committed by attempt 1")],
        ),
        (
            status(),
            status(stage(state="Succeeded", reused=True)),
            [Transition("Normal", "StageSucceeded", "teacher 0123456789ab found in the store")],
        ),
        (status(DONE), status(stage(state="Succeeded", attempt=2)), []),
        (
            status(RUNNING),
            status(stage(state="Failed", attempt=1), reason="BackingOff"),
            [
                Transition("Warning", "StageFailed", "teacher attempt 1 failed"),
                Transition("Warning", "BackingOff", "m"),
            ],
        ),
        (status(DONE), status(DONE, reason="GatesPassed"), [Transition("Normal", "GatesPassed", "m")]),
        (status(), status(reason="Cancelled", stalled=True), [Transition("Warning", "Cancelled", "m")]),
        (status(reason="Suspended"), status(reason="Suspended", message="again"), []),
    ],
)
def test_changes_are_told_and_nothing_else(before: Status, after: Status, told: list[Transition]) -> None:
    assert transitions(before, after) == told

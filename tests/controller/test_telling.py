"""What the platform team counts: attempts by what ended them, in few series whatever workers write."""

from __future__ import annotations

from typing import Any

import pytest

from builders import make_outcome, make_report
from distillery.controller.telemetry import MOST_REASONS, Metrics
from distillery.controller.telling import Telling
from distillery.planning.record import AttemptRecord
from distillery.stages.report import Failure, Report

ENTRY = AttemptRecord(
    stage="teacher", attempt=1, recipe="r", generation=1, name="n", started_at=1.0, ended_at=2.0
)
TROUBLE = Failure(failure_class="infrastructure", reason="OutOfMemory", message="m")


def told(entry: AttemptRecord, report: Report | None) -> str:
    metrics, events = Metrics(), None
    quiet: Any = events
    Telling(quiet, metrics).attempts_ended([entry], {} if report is None else {entry.key: report})
    lines = [
        line for line in metrics.text().decode().splitlines() if line.startswith("distillery_attempts_total{")
    ]
    return " ".join(lines)


@pytest.mark.parametrize(
    ("changes", "report", "reason"),
    [
        ({}, make_report("teacher", "r", 1, result=make_outcome("teacher", "i").to_wire()), "Succeeded"),
        ({}, make_report("teacher", "r", 1, failure=TROUBLE.to_wire()), "OutOfMemory"),
        ({"failure": TROUBLE}, None, "OutOfMemory"),
        ({"control": "stop", "control_reason": "Suspended"}, None, "Suspended"),
        ({}, None, "AttemptLost"),
    ],
)
def test_an_ended_attempt_is_counted_by_what_ended_it(
    changes: dict[str, Any], report: Report | None, reason: str
) -> None:
    line = told(ENTRY.model_copy(update=changes), report)
    assert line == f'distillery_attempts_total{{reason="{reason}",stage="teacher"}} 1.0'


def test_an_attempt_that_goes_on_is_not_counted() -> None:
    assert told(ENTRY.model_copy(update={"ended_at": None}), None) == ""


def test_reasons_that_workers_invent_do_not_make_series_without_end() -> None:
    metrics = Metrics()
    for number in range(MOST_REASONS + 10):
        metrics.attempt_ended("teacher", f"Invented{number}")
    text = metrics.text().decode()
    assert text.count("distillery_attempts_total{") == MOST_REASONS + 1
    assert 'distillery_attempts_total{reason="Other",stage="teacher"} 10.0' in text

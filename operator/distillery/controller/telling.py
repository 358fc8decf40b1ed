"""What has happened to a job, told once: as Events for people, as metrics for the platform team."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import StageStatus, Status
from distillery.controller.events import Events
from distillery.controller.telemetry import Metrics
from distillery.planning.control import parse_time
from distillery.planning.failures import LOST
from distillery.planning.record import AttemptRecord
from distillery.planning.transitions import transitions
from distillery.stages.report import Report

MOST_COMPLAINTS = 100
"""Complaints remembered per job, so that none is told twice; beyond these nothing more is told."""


class Telling:
    """Compares a job's status before and after a look."""

    def __init__(self, events: Events, metrics: Metrics) -> None:
        self._events = events
        self._metrics = metrics
        self._complained: dict[str, set[str]] = {}

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a job that is gone."""
        self._complained.pop(uid, None)

    async def tell(
        self, document: dict[str, Any], before: Status, after: Status, complaints: Sequence[str]
    ) -> None:
        """Tell what changed, and each complaint once.

        Args:
            document: the DistillationJob.
            before: its status when the look began.
            after: its status now.
            complaints: what was ignored, with the reason, or `<Reason>: <message>` of what is to be seen to.
        """
        for transition in transitions(before, after):
            await self._events.post(document, transition.kind, transition.reason, transition.message)
        self._count(before, after)
        for complaint in complaints:
            reason, _, rest = complaint.partition(": ")
            named = reason in Reason.__members__.values() and bool(rest)
            await self.warn(document, *((reason, rest) if named else ("Ignored", complaint)))

    async def warn(self, document: dict[str, Any], reason: str, message: str) -> None:
        """Tell once what the status has no room for, or could not be told by it."""
        known = self._complained.setdefault(document["metadata"]["uid"], set())
        if message not in known and len(known) < MOST_COMPLAINTS:
            known.add(message)
            await self._events.post(document, "Warning", reason, message)

    def attempts_ended(self, entries: Iterable[AttemptRecord], reports: Mapping[str, Report]) -> None:
        """Count the attempts among changed entries of the record that have ended, by what ended them."""
        for entry in entries:
            if entry.ended_at is not None:
                self._metrics.attempt_ended(entry.stage, _end_of(entry, reports.get(entry.key)))

    def _count(self, before: Status, after: Status) -> None:
        old = {stage.name: stage for stage in before.stages}
        for stage in after.stages:
            known = old.get(stage.name)
            if stage.state in ("Pending", "Running") or (known is not None and _same_end(known, stage)):
                continue
            outcome = "Reused" if stage.reused else stage.state
            self._metrics.stage_ended(stage.name, outcome, _seconds(stage))
        spent, was = after.cost.spent or 0, before.cost.spent or 0
        self._metrics.spent(after.cost.currency, float(spent - was))


def _end_of(entry: AttemptRecord, report: Report | None) -> str:
    if report is not None and report.result is not None:
        return "Succeeded"
    if entry.control:
        return entry.control_reason
    failure = (report.failure if report is not None else None) or entry.failure or LOST
    return failure.reason


def _same_end(before: StageStatus, after: StageStatus) -> bool:
    return (before.state, before.attempt, before.identity) == (after.state, after.attempt, after.identity)


def _seconds(stage: StageStatus) -> float:
    start, end = parse_time(stage.start_time or ""), parse_time(stage.completion_time or "")
    return 0.0 if start is None or end is None else max(0.0, end - start)

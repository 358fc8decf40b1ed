"""What the status of an object says about its end, in the exit statuses of `distillery run`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from distillery.api.v1alpha1.conditions import Condition, ConditionType, Reason, find_condition
from distillery.api.v1alpha1.status import Phase, Status
from distillery.cli.exit_codes import ExitCode
from distillery.errors import DistilleryError

OF_PHASE: dict[Phase, ExitCode] = {
    "Succeeded": ExitCode.COMPLETE,
    "GatesFailed": ExitCode.GATES_FAILED,
    "Stopped": ExitCode.STOPPED,
}
INVALID = frozenset({Reason.INVALID_SPEC, Reason.INVALID_INPUT})
UNREMARKABLE = frozenset({Reason.RUNNING, Reason.STAGE_RUNNING, Reason.STOPPING, Reason.CLEANING_UP})
"""Reasons for waiting that the table of stages shows well enough."""


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended."""

    message: str
    code: ExitCode


def status_in(job: dict[str, Any]) -> Status:
    """Return an object's status. Raises: DistilleryError if it was written by an operator that is too new."""
    try:
        return Status.model_validate(job.get("status") or {})
    except ValidationError as error:
        field = ".".join(str(step) for step in error.errors()[0]["loc"])
        raise DistilleryError(f"status.{field} is not understood → install a newer distillery") from None


def end_of(status: Status, generation: int) -> End | None:
    """Return how this generation of the object has ended, or None while it goes on (kstatus)."""
    if status.observed_generation < generation:
        return None
    ready = _true(status, ConditionType.READY)
    if ready is not None:
        return End(ready.message, ExitCode.COMPLETE)
    stalled = _true(status, ConditionType.STALLED)
    if stalled is None:
        return None
    code = OF_PHASE.get(status.phase, ExitCode.FAILED)
    return End(stalled.message, ExitCode.INVALID if stalled.reason in INVALID else code)


def remark(status: Status) -> str:
    """Return why the job waits, if it waits for something that a person may want to know of."""
    waiting = _true(status, ConditionType.RECONCILING)
    if waiting is None or waiting.reason in UNREMARKABLE:
        return ""
    return f"{waiting.reason}: {waiting.message}"


def _true(status: Status, kind: ConditionType) -> Condition | None:
    found = find_condition(status.conditions, kind)
    return found if found is not None and found.status == "True" else None

"""What a request would do to a job as it was read. It is advice: the job may change before the operator looks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, assert_never

from distillery.api.v1alpha1.conditions import ConditionType, Reason, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.cli.cluster.ending import end_of, status_in
from distillery.errors import Problem, SpecError
from distillery.kube.client import Object
from distillery.planning.control import Control, control_of

Verb = Literal["suspend", "resume", "cancel", "retry"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A job, what people have asked of it so far, and whether it has ended."""

    name: str
    status: Status
    control: Control
    ended: bool
    spec_is_wrong: bool
    has_deadline: bool


def standing_of(job: Object) -> Standing:
    """Return how a job stands. It may still go on by a request that is not latched yet, or by another profile."""
    metadata, spec, status = job["metadata"], job.get("spec") or {}, status_in(job)
    annotations = metadata.get("annotations") or {}
    control = control_of(annotations, bool(spec.get("suspend")), status.handled, time.time())
    stalled = find_condition(status.conditions, ConditionType.STALLED)
    reason = stalled.reason if stalled is not None else None
    over = end_of(status, metadata["generation"]) is not None and reason != Reason.PROFILE_VIOLATED
    return Standing(
        name=metadata["name"],
        status=status,
        control=control,
        ended=over and control.handled == status.handled,
        spec_is_wrong=over and reason == Reason.INVALID_SPEC,
        has_deadline="activeDeadlineSeconds" in spec,
    )


def check_request(verb: Verb, standing: Standing, flags: str) -> None:
    """Raise SpecError for a request that a job which has ended would keep, to its harm when it is edited.

    Args: `flags` are the options that lead another command to the job.
    """
    name, phase = standing.name, standing.status.phase
    match verb:
        case "cancel":
            refused, repair = True, f"to remove it: kubectl delete distillationjob {name}{flags}"
        case "suspend":
            refused, repair = True, "to hold its next edit back, write suspend: true into that edit's spec"
        case "retry":  # a verdict is no failure; a retry would only judge it by another profile and release
            refused = phase in ("Succeeded", "GatesFailed")
            repair = f"edit it, or make a result anew: distillery rerun {name} STAGE{flags}"
        case "resume":
            return
        case _:
            assert_never(verb)
    if refused and standing.ended:
        raise SpecError(Problem(f"{name} has ended ({phase})", f"nothing to {verb}", repair))


def idle_note(verb: Verb, standing: Standing) -> str:
    """Return why a harmless request changes nothing now; empty if it may."""
    name = standing.name
    if verb == "resume" and not standing.control.suspended:
        rest = (
            "only its activeDeadlineSeconds count anew"
            if standing.has_deadline and not standing.ended
            else "nothing to resume"
        )
        return f"{name} is not suspended: {rest}"
    if verb == "retry" and standing.spec_is_wrong:
        return f"the spec of {name} is wrong: only an edit helps"
    if verb == "retry" and not (standing.ended or standing.control.cancelled or _has_failed(standing)):
        return f"nothing of {name} has failed: only its profile is read anew"
    return ""


def _has_failed(standing: Standing) -> bool:
    """Say whether there may be a failure that counts: an attempt that is not the first may follow one."""
    open_stages = [stage for stage in standing.status.stages if stage.state != "Succeeded"]
    return any(stage.state == "Failed" or stage.attempt > 1 for stage in open_stages)

"""DistillationJobs as a cluster shows them, with the statuses that planning writes for every kind of moment and end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from builders import make_outcome, make_plan, make_report
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import Status
from distillery.planning.control import control_of
from distillery.planning.decide import decide
from distillery.planning.frontier import frontier_of
from distillery.planning.observed import Attempt, Observed
from distillery.planning.plan import Plan
from distillery.planning.status import status_of, status_without_plan
from distillery.stages.identity import stage_identity
from distillery.stages.report import Failure, Outcome
from distillery.stages.stage import STAGE_NAMES, StageName

STARTED = 1_795_000_000.0
NOW = STARTED + 600
LATER = "2026-11-19T01:00:00Z"
"""After every attempt here has started."""
NEXT_DAY = STARTED + 86400


def committed(plan: Plan, stages: int, **summary: object) -> Observed:
    """Return the facts after the first stages are committed; `summary` is the evaluation's."""
    outcomes: dict[str, Outcome] = {}
    outputs: dict[str, str] = {}
    for run in plan.runs[:stages]:
        identity = stage_identity(run.recipe, run.consumes, outputs, "sources")
        assert identity is not None
        outcome = make_outcome(run.stage, identity, **(summary if run.stage == "evaluation" else {}))
        outcomes[identity] = outcome
        outputs[run.stage] = outcome.output_digest
    return Observed(outcomes=outcomes, sources={plan.runs[0].recipe: "sources"})


def attempt(plan: Plan, facts: Observed, failure: Failure | None = None, number: int = 1) -> Attempt:
    """Return a live attempt on what is next, or one that failed a moment ago."""
    frontier = frontier_of(plan, facts)
    assert frontier.run is not None
    live = Attempt(
        frontier.run.stage, number, frontier.run.recipe, frontier.identity, STARTED, live=failure is None
    )
    state, word = ("running", {"done": 30, "total": 60}) if failure is None else ("failed", {})
    report = make_report(live.stage, live.recipe, number, state=state, failure=failure, progress=word)
    return replace(live, report=report, ended_at=None if failure is None else NOW - 1)


def failed(kind: str, reason: str, stages: int = 1, times: int = 1) -> Status:
    """Return the status after attempts have failed on the stage that follows the committed ones."""
    plan = make_plan()
    facts = committed(plan, stages)
    failure = Failure.model_validate(
        {"failureClass": kind, "reason": reason, "message": "as the worker reported it"}
    )
    return judged(
        plan, replace(facts, attempts=tuple(attempt(plan, facts, failure, n + 1) for n in range(times)))
    )


def judged(plan: Plan, observed: Observed, annotations: Mapping[str, str] | None = None) -> Status:
    """Return what planning writes for these facts and requests."""
    if annotations:
        control = control_of(
            {f"distillery.dev/{key}": value for key, value in annotations.items()}, False, {}, NEXT_DAY
        )
        observed = replace(observed, control=control)
    return status_of(plan, observed, decide(plan, observed, NOW), None, NOW)


def waiting_for_review(annotations: Mapping[str, str] | None = None) -> Status:
    """Return the status when the filter is committed and its review is required."""
    plan = replace(make_plan(), review_required=True)
    return judged(plan, committed(plan, 3), annotations)


def running(stage: StageName) -> Status:
    """Return the status while a stage is at work."""
    plan = make_plan()
    facts = committed(plan, STAGE_NAMES.index(stage))
    return judged(plan, replace(facts, attempts=(attempt(plan, facts),)))


def held(status: Status, reason: Reason) -> Status:
    """Return what is told while something is refused or fails."""
    return status_without_plan(status, 1, reason, "cannot create ConfigMap x: quota", stalled=False, now=NOW)


def statuses() -> dict[str, Status]:
    """Return every kind of moment and end by name."""
    plan = make_plan()
    verdicts = {
        name: judged(plan, committed(plan, 5, verdict=name)) for name in ("passed", "failed", "undecided")
    }
    started = committed(plan, 1)
    at_work = replace(started, attempts=(attempt(plan, started),))
    return {
        "first-submission": judged(plan, Observed()),
        **{f"running-{stage}": running(stage) for stage in STAGE_NAMES},
        "complete": verdicts["passed"],
        "gates-failed": verdicts["failed"],
        "gates-undecided": verdicts["undecided"],
        "failed": failed("user", "TooManyFailed"),
        "retries-exhausted": failed("infrastructure", "AttemptLost", times=5),
        "budget-reached": failed("budget", "BudgetReached"),
        "pilot-rejected": failed("pilot", "PilotRejected"),
        "invalid-data": failed("user", "InvalidInput", stages=0),
        "backing-off": failed("infrastructure", "AttemptLost", times=2),
        "suspended": judged(plan, started, {"suspend-requested-at": LATER}),
        "stopping-to-suspend": judged(plan, at_work, {"suspend-requested-at": LATER}),
        "cancelled": judged(plan, started, {"cancel-requested-at": LATER}),
        "stopping-to-cancel": judged(plan, at_work, {"cancel-requested-at": LATER}),
        "suspended-for-review": waiting_for_review({"suspend-requested-at": LATER}),
        "review-pending": waiting_for_review(),
        "invalid-spec": status_without_plan(
            Status(), 1, Reason.INVALID_SPEC, "teacher.maxFailed: is 2 → write a share", stalled=True, now=NOW
        ),
        "profile-missing": status_without_plan(
            Status(), 1, Reason.PROFILE_MISSING, "profile standard does not exist", stalled=False, now=NOW
        ),
        "refused-at-first": held(Status(), Reason.RECONCILE_ERROR),
        "refused-at-work": held(running("student"), Reason.RECONCILE_ERROR),
        "refused-while-suspended": held(
            judged(plan, started, {"suspend-requested-at": LATER}), Reason.RECONCILE_ERROR
        ),
        "release-not-published": held(verdicts["passed"], Reason.RELEASE_NOT_PUBLISHED),
        "bug": held(running("student"), Reason.INTERNAL_ERROR),
    }


def live_object(status: Status | None, generation: int = 1, **annotations: str) -> dict[str, Any]:
    """Return the object around a status; without one it has the schema's default."""
    metadata: dict[str, Any] = {
        "name": "ticket-routing",
        "namespace": "support",
        "uid": "6f0d8f5e-7f0a-4b7e-9d5c-2f1f0d1f9a11",
        "generation": generation,
    }
    if annotations:
        metadata["annotations"] = {f"distillery.dev/{k.replace('_', '-')}": v for k, v in annotations.items()}
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "DistillationJob",
        "metadata": metadata,
        "spec": {"teacher": {"model": "large-chat-model"}, "student": {"epochs": 3}},
        "status": status.to_wire() if status is not None else {"observedGeneration": -1},
    }

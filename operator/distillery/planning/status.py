"""Plan + observed + decision → Status: what people and GitOps tools read. Nothing is ever triggered by it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, assert_never

from distillery.api.v1alpha1.conditions import (
    MAX_MESSAGE,
    Condition,
    ConditionType,
    Reason,
    keep_transition_times,
)
from distillery.api.v1alpha1.status import (
    CostStatus,
    EvaluationStatus,
    GateStatus,
    JobProgress,
    Phase,
    ReleaseStatus,
    StageProgress,
    StageState,
    StageStatus,
    Status,
)
from distillery.artifacts import layout
from distillery.planning.control import timestamp
from distillery.planning.decision import Cancel, Decision, Ending, Finish, Submit, Wait
from distillery.planning.frontier import Frontier, frontier_of
from distillery.planning.observed import Attempt, Observed
from distillery.planning.plan import Plan
from distillery.stages.report import Outcome, Progress, Report
from distillery.stages.stage import StageName, StageRun

WEIGHTS: dict[StageName, float] = {
    "dataset": 3,
    "teacher": 42,
    "filter": 2,
    "student": 38,
    "evaluation": 15,
}
"""Usual shares of the stages in the time of a job; only for the percentage."""

PHASES: dict[Ending, Phase] = {
    "complete": "Succeeded",
    "gatesFailed": "GatesFailed",
    "failed": "Failed",
    "invalid": "Failed",
    "budget": "Stopped",
    "pilot": "Stopped",
    "cancelled": "Stopped",
}
WAITING: dict[str, Phase] = {
    Reason.INTERRUPTED.value: "Suspended",
    Reason.SUSPENDED.value: "Suspended",
    Reason.REVIEW_PENDING.value: "AwaitingReview",
}
SIDE_CONDITIONS: dict[str, ConditionType] = {
    Reason.SUSPENDED.value: ConditionType.SUSPENDED,
    Reason.REVIEW_PENDING.value: ConditionType.REVIEW_PENDING,
}
"""Conditions that stand beside Reconciling while the job waits for a person."""


def status_of(
    plan: Plan, observed: Observed, decision: Decision, previous: Status | None, now: float
) -> Status:
    """Return the whole status. Pure; times come from the facts and from `now` (seconds since the epoch)."""
    before = previous or Status()
    frontier = frontier_of(plan, observed)
    stages = [_stage(run, plan, observed, frontier, before) for run in plan.runs]
    evaluation = next((o for o in frontier.done if o.stage == "evaluation"), None)
    conditions = _conditions(decision, plan.generation, now)
    return Status(
        observed_generation=plan.generation,
        conditions=keep_transition_times(before.conditions, conditions),
        phase=_phase(decision),
        progress=_progress(plan, observed, frontier, decision),
        stages=stages,
        cost=_cost(plan, observed, before),
        evaluation=_evaluation(evaluation, plan),
        release=_release(evaluation, plan),
        profile=before.profile,
        handled=dict(observed.control.handled) or before.handled,
    )


def status_without_plan(
    previous: Status, generation: int, reason: str, message: str, *, stalled: bool, now: float
) -> Status:
    """Return the status of an object that cannot be planned, or whose look fails: what is known stays visible.

    Args:
        previous: the status so far, or as much as this look has found out.
        generation: of the object.
        reason: why.
        message: what is wrong and how to repair it.
        stalled: True if only an edit helps, False if the operator tries again by itself.
        now: seconds since the epoch.
    """
    decision = Finish("invalid", reason, message) if stalled else Wait(reason, message)
    sides = [] if stalled else _side_conditions(previous, generation)
    conditions = [*sides, *_conditions(decision, generation, now)]
    return previous.model_copy(
        update={
            "observed_generation": generation,
            "conditions": keep_transition_times(previous.conditions, conditions),
            "phase": "Failed" if stalled else previous.phase if sides else _open_phase(previous),
            "progress": previous.progress.model_copy(update={"message": message[:MAX_MESSAGE]}),
        }
    )


def _side_conditions(status: Status, generation: int) -> list[Condition]:
    """Return the conditions that stand beside Reconciling: people are still asked what they were asked."""
    kept = SIDE_CONDITIONS.values()
    return [c for c in status.conditions if c.type in kept and c.observed_generation == generation]


def _open_phase(status: Status) -> Phase:
    """Return the phase of a job that has not come to its end, whatever the status has thought of it so far."""
    return "Running" if any(stage.attempt for stage in status.stages) else "Pending"


def check_presentable(report: Report) -> None:
    """Make of a report what a status shows of it. Raises: ValueError or TypeError if it does not fit."""
    progress, failure = report.progress, report.failure
    _stage_progress(progress)
    JobProgress(percent=0.0, message=progress.message, estimated_seconds_remaining=progress.remaining_seconds)
    for micro in (report.spent_micro, report.unknown_micro, progress.spent_micro, progress.estimate_micro):
        CostStatus(spent=money(micro or 0))
    for outcome in (*([report.result] if report.result else []), *report.reusable):
        address = layout.writer(outcome.stage, outcome.identity, outcome.writer)
        StageStatus(name=outcome.stage, identity=outcome.identity, summary=_scalars(outcome.summary))
        if outcome.stage == "evaluation":
            _judged(outcome.summary, address)
            version = outcome.summary.get("releaseVersion")
            ReleaseStatus(name="", version="" if version is None else version)
        json.dumps(outcome.summary, allow_nan=False)
    if failure is not None:
        _conditions(Finish("failed", failure.reason, failure.message), 1, report.at)


def money(micro: int) -> Decimal:
    """Return an amount in units of the currency from micro-units."""
    return (Decimal(micro) / 1_000_000).quantize(Decimal("0.000001"))


def _phase(decision: Decision) -> Phase:
    match decision:
        case Finish():
            return PHASES[decision.ending]
        case Wait():
            return WAITING.get(decision.reason, "Running")
        case Submit() | Cancel():
            return "Running"
        case _:
            assert_never(decision)


def _conditions(decision: Decision, generation: int, now: float) -> list[Condition]:
    def condition(type_: ConditionType, holds: bool, reason: str, message: str) -> Condition:
        return Condition(
            type=type_,
            status="True" if holds else "False",
            reason=reason,
            message=message,
            last_transition_time=timestamp(now),
            observed_generation=generation,
        )

    match decision:
        case Finish():
            reason, message, done = decision.reason, decision.message, True
            good = decision.ending == "complete"
        case Wait():
            reason, message, good, done = decision.reason, decision.message, False, False
        case Submit():
            reason, good, done = Reason.RUNNING.value, False, False
            message = f"starting {decision.run.stage} attempt {decision.attempt}"
        case Cancel():
            reason, message, good, done = decision.reason, decision.message, False, False
        case _:
            assert_never(decision)
    bad = done and not good
    side = SIDE_CONDITIONS.get(reason)
    return [
        *([condition(side, True, reason, message)] if side is not None else []),
        condition(ConditionType.READY, good, reason, message),
        condition(ConditionType.RECONCILING, not done, reason, message),
        condition(ConditionType.STALLED, bad, reason, message),
        condition(ConditionType.COMPLETE, good, reason, message),
        condition(ConditionType.FAILED, bad, reason, message),
    ]


def _stage(run: StageRun, plan: Plan, observed: Observed, frontier: Frontier, before: Status) -> StageStatus:
    attempts = [attempt for attempt in observed.attempts_of(run.stage) if attempt.recipe == run.recipe]
    last = attempts[-1] if attempts else None
    outcome = next((o for o in frontier.done if o.stage == run.stage), None)
    old = next((s for s in before.stages if s.name == run.stage), None)
    if outcome is not None:
        return _committed(outcome, plan, attempts, old)
    forgiven = last is not None and not last.live and last.started_at < observed.forgiven_before
    if last is None or forgiven or not frontier.covers(last):
        return StageStatus(name=run.stage, attempt=last.number if last else 0)
    report = last.report
    state = _state(last)
    return StageStatus(
        name=run.stage,
        state=state,
        identity=last.identity,
        attempt=last.number,
        start_time=timestamp(attempts[0].started_at),
        completion_time=timestamp(last.ended_at) if state == "Failed" and last.ended_at else None,
        progress=_stage_progress(report.progress) if report else None,
    )


def _state(attempt: Attempt) -> StageState:
    if not attempt.created:
        return (
            "Pending"  # a crash came between the record and its creation, or its watch lags: it is no failure
        )
    if attempt.live:
        return "Running"
    if attempt.report is not None and attempt.report.state == "stopped":
        return "Stopped"
    return "Failed"


def _committed(outcome: Outcome, plan: Plan, attempts: list[Attempt], old: StageStatus | None) -> StageStatus:
    same = old is not None and old.identity == outcome.identity
    ended = next((a.ended_at for a in reversed(attempts) if a.identity == outcome.identity), None)
    kept_start = old.start_time if old is not None and same else None
    kept_end = old.completion_time if old is not None and same else None
    start = timestamp(attempts[0].started_at) if attempts and not outcome.reused else kept_start
    end = timestamp(ended) if ended is not None and not outcome.reused else kept_end
    return StageStatus(
        name=outcome.stage,
        state="Succeeded",
        identity=outcome.identity,
        attempt=attempts[-1].number if attempts else 0,
        reused=outcome.reused,
        start_time=start,
        completion_time=end,
        summary=_scalars(outcome.summary),
        artifact=f"{plan.storage_uri}/{layout.artifact(outcome.stage, outcome.identity)}",
    )


def _scalars(summary: dict[str, Any]) -> dict[str, Any]:
    """Keep what fits a status: short scalars; gates and the like have fields of their own."""
    flat = {k: v for k, v in summary.items() if isinstance(v, str | int | float | bool)}
    return {k: v[:200] if isinstance(v, str) else v for k, v in list(flat.items())[:32]}


def _stage_progress(progress: Progress) -> StageProgress:
    return StageProgress(
        done=progress.done,
        total=progress.total,
        unit=progress.unit,
        rate=progress.rate,
        message=progress.message,
        estimated_seconds_remaining=progress.remaining_seconds,
    )


def _progress(plan: Plan, observed: Observed, frontier: Frontier, decision: Decision) -> JobProgress:
    total = sum(WEIGHTS[run.stage] for run in plan.runs)
    done = sum(WEIGHTS[outcome.stage] for outcome in frontier.done)
    if frontier.run is None:
        return JobProgress(
            percent=100, message=decision.message if isinstance(decision, Finish) else "complete"
        )
    attempts = [a for a in observed.attempts_of(frontier.run.stage) if frontier.covers(a)]
    report = attempts[-1].report if attempts else None
    message = decision.message if isinstance(decision, Finish | Wait) else ""
    remaining = None
    if report is not None and attempts[-1].live:
        progress = report.progress
        if progress.total:
            done += WEIGHTS[frontier.run.stage] * min(1.0, progress.done / progress.total)
        if not (isinstance(decision, Wait) and decision.reason == Reason.WAITING_FOR_PODS):
            message = progress.message or f"{progress.done} of {progress.total or '?'} {progress.unit}"
        remaining = progress.remaining_seconds
    return JobProgress(
        percent=round(100 * done / total, 1),
        stage=frontier.run.stage,
        message=message,
        estimated_seconds_remaining=remaining,
    )


def _cost(plan: Plan, observed: Observed, before: Status) -> CostStatus:
    estimates = [
        a.report.progress.estimate_micro
        for a in observed.attempts
        if a.report is not None and a.report.progress.estimate_micro is not None
    ]
    return CostStatus(
        estimated=money(estimates[-1]) if estimates else before.cost.estimated,
        spent=money(observed.ledger_micro),
        unknown=money(observed.unknown_micro) if observed.unknown_micro else None,
        budget=plan.budget.max_cost,
        currency=plan.budget.currency,
        gpu_hours=round(observed.gpu_seconds / 3600, 4) if observed.gpu_seconds else None,
    )


def _evaluation(outcome: Outcome | None, plan: Plan) -> EvaluationStatus | None:
    if outcome is None:
        return None
    return _judged(outcome.summary, plan.address(outcome, "report.html"))


def _judged(summary: dict[str, Any], report: str) -> EvaluationStatus:
    return EvaluationStatus(
        verdict=summary.get("verdict"),
        basis=summary.get("basis"),
        retention=summary.get("retention"),
        interval=summary.get("interval"),
        gates=[GateStatus.model_validate(gate) for gate in summary.get("gates", [])][:64],
        report=report,
    )


def _release(outcome: Outcome | None, plan: Plan) -> ReleaseStatus | None:
    version = outcome.summary.get("releaseVersion") if outcome else None
    if version is None or plan.release is None:
        return None
    uri = f"{plan.storage_uri}/{layout.release(plan.release, version)}"
    return ReleaseStatus(name=plan.release, version=version, uri=uri)

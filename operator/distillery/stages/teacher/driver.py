"""Runs the teacher stage: pilot first, then every training and validation row; completions and usage out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from distillery.artifacts.manifest import Cost, logical_digest
from distillery.artifacts.tables import COMPLETIONS, INPUTS, read_table, write_table
from distillery.errors import StageFailed
from distillery.querying import AskProgress, Question, Result, TeacherEngine, estimate_cost
from distillery.stages import asking, report
from distillery.stages.context import StageContext, StageResult
from distillery.stages.teacher.completions import (
    check_failures,
    completion_rows,
    completions_digest,
    count_rows,
)
from distillery.stages.teacher.forecast import CostForecast
from distillery.stages.teacher.pilot import PilotResult, check_pilot, judge_pilot, pilot_warning
from distillery.stages.teacher.questions import (
    Row,
    asked_rows,
    evaluation_questions,
    pilot_rows,
    questions_of,
)
from distillery.stages.teacher.spec import TeacherParams

USAGE_VERSION = 1


def run(context: StageContext) -> StageResult:
    """Ask the teacher and write completions.parquet and usage.json.

    Raises:
        StageFailed: PilotRejected, NoLogprobs, TooManyFailed, and what the engine raises (TeacherRefused,
            TeacherUnavailable, BudgetReached).
        StageStopped: after a stop request.
    """
    params = TeacherParams.model_validate(context.run.params)
    inputs = read_table(context.inputs["dataset"].local("inputs.parquet"), INPUTS)
    rows = asked_rows(inputs)
    questions = questions_of(rows, params.teacher.system_prompt, params.samples)
    evaluation = evaluation_questions(inputs, params.teacher.system_prompt, params.noise_rows)
    with _open_engine(context, params) as engine:
        engine.require(engine.estimate([*questions, *evaluation]))
        pilot = _pilot(context, engine, params, rows)
        forecast = _forecast(engine, params, questions, evaluation)
        results = _ask(context, engine, questions, forecast=forecast)
        cost = engine.cost
    check_failures(results, params.max_failed)
    table = completion_rows(results, {row["row_id"]: row["split"] for row in rows})
    write_table(context.output.path("completions.parquet"), COMPLETIONS, table)
    usage = _usage(table, pilot.to_wire(_min_accepted(params)), forecast.to_wire(), cost)
    context.output.write("usage.json", json.dumps(usage, indent=1, ensure_ascii=False).encode())
    return StageResult(
        output_digest=logical_digest({"completions": completions_digest(table)}),
        counts=count_rows(table),
        summary=_summary(table, pilot, forecast),
        cost=cost,
        provenance={"teacher": params.teacher.identity, "models": usage["models"]},
    )


def _open_engine(context: StageContext, params: TeacherParams) -> TeacherEngine:
    """Return an engine that buys in the worker pods, or here if there are none."""
    if not context.workers:
        return asking.open_engine(context, params.teacher)
    from distillery.stages.teacher.pool import WorkerPool  # lazy: Ray takes a second to import

    return asking.open_engine(context, params.teacher, execute_with=WorkerPool)


def _pilot(
    context: StageContext, engine: TeacherEngine, params: TeacherParams, rows: Sequence[Row]
) -> PilotResult:
    """Ask the pilot rows and stop here if the teacher is not worth the rest. Raises: StageFailed."""
    chosen = pilot_rows(rows, params.pilot.rows)
    questions = questions_of(chosen, params.teacher.system_prompt, params.samples)
    results = _ask(context, engine, questions, message="pilot")
    pilot = judge_pilot(chosen, results, params.teacher.output, params.filter)
    check_failures(results, params.max_failed, certain=True)
    if params.soft_labels and pilot.accepted.rows and not pilot.with_alternatives:
        raise _no_logprobs(params)
    check_pilot(pilot, _min_accepted(params))
    warning = pilot_warning(pilot, params.filter.discard.expected[1])
    if warning is not None:
        context.warn(warning)
    return pilot


def _forecast(
    engine: TeacherEngine,
    params: TeacherParams,
    questions: Sequence[Question],
    evaluation: Sequence[Question],
) -> CostForecast:
    """CostEstimate what is still to be paid, with the tokens that the pilot took."""
    production = [question for question in questions if question.sample_index == 0]
    all_new = estimate_cost(params.teacher, production, typical=engine.typical)
    return CostForecast(
        spent_micro=engine.object_spent_micro,
        rest=engine.estimate(questions),
        evaluation=engine.estimate(evaluation),
        micro_per_thousand=all_new.expected_micro * 1000 // max(1, len(production)),
        monthly_requests=params.monthly_requests,
    )


def _ask(
    context: StageContext,
    engine: TeacherEngine,
    questions: Sequence[Question],
    *,
    forecast: CostForecast | None = None,
    message: str = "labelling",
) -> list[Result]:
    """Ask; once the forecast is known, what the evaluation will cost is set aside."""

    def on_progress(now: AskProgress) -> None:
        left = now.total - now.done
        context.progress(
            report.Progress(
                done=now.done,
                total=now.total,
                unit="answers",
                message=message,
                rate=round(now.rate, 2),
                remaining_seconds=round(left / now.rate, 1) if now.rate > 0 else None,
                spent_micro=now.spent_micro,
                estimate_micro=forecast.expected_micro if forecast else None,
            )
        )

    return engine.ask(
        questions,
        set_aside_micro=forecast.set_aside_micro if forecast else 0,
        on_progress=on_progress,
        stop_requested=context.stop_requested,
    )


def _min_accepted(params: TeacherParams) -> float:
    wanted = params.pilot.min_accepted
    return 1 - params.filter.discard.max if wanted is None else wanted


def _no_logprobs(params: TeacherParams) -> StageFailed:
    asked = params.teacher.parameters.top_logprobs
    what = (
        f"spec.student.loss.soft is above 0, but the teacher {params.teacher.model} returned no top logprobs"
    )
    repair = "set spec.student.loss to {hard: 1, soft: 0}, or choose a teacher that returns them"
    return StageFailed("NoLogprobs", f"{what} (topLogprobs: {asked} were asked for) → {repair}")


def _usage(
    table: Sequence[dict[str, Any]], pilot: dict[str, Any], forecast: dict[str, Any], cost: Cost
) -> dict[str, Any]:
    """What the answers cost and where they came from; none of it enters the output digest."""
    return {
        "version": USAGE_VERSION,
        "cost": cost.to_wire(),
        "pilot": pilot,
        "worth": forecast,
        "models": _counts(table, "model"),
        "fingerprints": _counts(table, "fingerprint"),
        "finishReasons": _counts(table, "finish_reason"),
        "failures": _counts(table, "reason"),
    }


def _counts(table: Sequence[dict[str, Any]], column: str) -> dict[str, int]:
    return dict(sorted(Counter(row[column] for row in table if row[column] is not None).items()))


def _summary(table: Sequence[dict[str, Any]], pilot: PilotResult, forecast: CostForecast) -> dict[str, Any]:
    counts = count_rows(table)
    values = {
        "answered": counts["answered"],
        "failed": counts["failed"],
        "pilotAccepted": _rounded(pilot.accepted.value),
        "pilotCorrect": _rounded(pilot.correct.value),
        "selfAgreement": _rounded(pilot.consistent.value),
        "expectedMicro": forecast.expected_micro or None,
        "paybackRequests": forecast.payback_requests,
    }
    return {name: value for name, value in values.items() if value is not None}


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)

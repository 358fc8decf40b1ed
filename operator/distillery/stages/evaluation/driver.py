"""Runs the evaluation: asks both models about the test rows, measures, judges, tells, and releases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from distillery.artifacts.manifest import digest, logical_digest
from distillery.artifacts.tables import (
    COMPLETIONS,
    INPUTS,
    PREDICTIONS,
    TRAINING_LOG,
    read_table,
    rows_digest,
    write_table,
)
from distillery.modeling.student_model import StudentModel
from distillery.modeling.threads import available_cores, threads_for
from distillery.stages.context import StageContext, StageResult
from distillery.stages.evaluation.card import model_card
from distillery.stages.evaluation.costs import cost_document, usage_of_answers, usages_of
from distillery.stages.evaluation.evidence import Evidence
from distillery.stages.evaluation.interview import Interview, interview
from distillery.stages.evaluation.judging import judge
from distillery.stages.evaluation.metrics import metrics_document, noise_of
from distillery.stages.evaluation.quality import (
    DEFAULT_CONFIDENCE,
    Judging,
    Quality,
    choose_basis,
    measure,
    slice_names,
)
from distillery.stages.evaluation.release import Publication, publish, released_document
from distillery.stages.evaluation.report.page import render_report
from distillery.stages.evaluation.rows import ScoredRow, prediction, read_test_rows, row_score_of, score_rows
from distillery.stages.evaluation.spec import EvaluationParams
from distillery.stages.evaluation.summary import summarise
from distillery.stages.evaluation.timing import latency_document

# Logprobs are by far the largest column, and nothing here reads them.
_BOUGHT = COMPLETIONS.remove(COMPLETIONS.get_field_index("logprobs"))


def run(context: StageContext) -> StageResult:
    """Evaluate the student of a StageRun and, on a passing verdict, release it. A failed gate is a verdict.

    Raises: StageFailed if the teacher cannot be asked or the budget is reached; StageStopped; SpecError.
    """
    params = EvaluationParams.model_validate(context.run.params)
    inputs = read_table(context.inputs["dataset"].local("inputs.parquet"), INPUTS)
    rows = read_test_rows(inputs, params.task.system_prompt, params.task.output)
    training = json.loads(context.inputs["student"].read("training.json"))
    threads = threads_for(training["model"]["parameters"], available_cores())
    model = StudentModel.load(context.inputs["student"].folder("model/"), threads)
    said = interview(context, params, model, rows)
    kind = row_score_of(params.task.output, params.evaluation.metrics)
    scored = score_rows(rows, said.teacher, said.student, kind)
    quality = _measure(params, scored)
    seed, confidence = params.evaluation.seed, quality.confidence
    noise = noise_of([scored[i] for i in said.noise], said.again, kind, confidence, seed)
    task = (params.task.output, params.evaluation.metrics, kind)
    metrics = metrics_document(scored, quality, noise, said.log_probs, task)
    evidence = _gather(context, params, (scored, quality, metrics), said)
    predictions = [prediction(row) for row in scored]
    write_table(context.output.path("predictions.parquet"), PREDICTIONS, predictions)
    documents = _documents(evidence)
    for name, data in documents.items():
        context.output.write(name, data)
    context.check_stop()
    version = _release(context, evidence, documents)
    return StageResult(
        output_digest=logical_digest(
            {"predictions": rows_digest(predictions, PREDICTIONS), "metrics": digest(metrics)}
        ),
        counts=metrics["rows"],
        summary=summarise(evidence, version),
        cost=said.cost,
        provenance={"seed": params.evaluation.seed, "teacher": params.teacher.identity},
    )


def _measure(params: EvaluationParams, rows: Sequence[ScoredRow]) -> Quality:
    gates = params.evaluation.gates
    judging = Judging(
        basis=choose_basis(gates, params.task.output.format, rows),
        confidence=gates.retention.confidence if gates.retention else DEFAULT_CONFIDENCE,
        floor=gates.slices.min_retention if gates.slices else None,
        seed=params.evaluation.seed,
    )
    return measure(rows, slice_names(params.slices, rows), judging)


def _gather(
    context: StageContext,
    params: EvaluationParams,
    measured: tuple[Sequence[ScoredRow], Quality, Mapping[str, Any]],
    said: Interview,
) -> Evidence:
    scored, quality, metrics = measured
    inputs = context.inputs
    latency = _latency(context, params, said)
    bought = usages_of(read_table(inputs["teacher"].local("completions.parquet"), _BOUGHT))
    bought += usage_of_answers([*said.teacher, *said.again])
    return Evidence(
        job=context.run.job_name,
        identity=context.identity,
        created_at=datetime.fromtimestamp(context.now(), UTC).strftime("%Y-%m-%d %H:%M UTC"),
        params=params,
        rows=scored,
        verdict=judge(params.evaluation.gates, quality, metrics["rows"], params.max_failed, latency),
        metrics=metrics,
        latency=latency,
        cost=cost_document(params.teacher, said.teacher, bought, params.task.monthly_requests),
        training=json.loads(inputs["student"].read("training.json")),
        training_log=read_table(inputs["student"].local("training_log.parquet"), TRAINING_LOG),
        funnel=json.loads(inputs["filter"].read("counts.json")),
        coverage=json.loads(inputs["dataset"].read("coverage.json")),
        parents={name: artifact.manifest for name, artifact in inputs.items()},
    )


def _latency(context: StageContext, params: EvaluationParams, said: Interview) -> Mapping[str, Any]:
    """Return latency.json: that of the release if a killed run left one, or its verdict might not be repeated."""
    name = params.release.name if params.release else None
    released = name and released_document(context.store, name, context.identity, "latency.json")
    return released or latency_document(said.again, said.student_seconds)


def _documents(evidence: Evidence) -> dict[str, bytes]:
    return {
        "metrics.json": _encode(evidence.metrics),
        "latency.json": _encode(evidence.latency),
        "cost.json": _encode(evidence.cost),
        "verdict.json": _encode(evidence.verdict),
        "report.html": render_report(evidence).encode(),
        "README.md": model_card(evidence).encode(),
    }


def _release(context: StageContext, evidence: Evidence, documents: Mapping[str, bytes]) -> str | None:
    """Publish before the manifest is committed: an evaluation that passed and is there has been released."""
    release = evidence.params.release
    if release is None or evidence.verdict["verdict"] != "passed":
        return None
    beside = {name: data for name, data in documents.items() if name != "README.md"}
    publication = Publication(
        name=release.name,
        identity=context.identity,
        model=context.inputs["student"].folder("model/"),
        documents={**beside, "model/README.md": documents["README.md"]},
        facts={
            "job": evidence.job,
            "task": evidence.params.task.model_dump(mode="json", by_alias=True, exclude_none=True),
            "teacher": evidence.params.teacher.identity,
            "retention": evidence.metrics["overall"]["value"],
            "interval": evidence.metrics["overall"]["interval"],
            "basis": evidence.metrics["basis"],
            "student": evidence.parents["student"].identity,
        },
    )
    return publish(context.store, publication, context.now())


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode()

"""A believable evaluation without any model: rows, answers and the documents of earlier stages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from distillery.api.teacher_settings import TeacherSettings
from distillery.api.v1alpha1.distillation_job import Release
from distillery.api.v1alpha1.evaluation import Evaluation
from distillery.api.v1alpha1.student import Base
from distillery.api.v1alpha1.task import Output, Task
from distillery.api.v1alpha1.teacher import Parameters, Pricing
from distillery.artifacts.manifest import Manifest
from distillery.querying.answers import Usage
from distillery.rules.prompts import render
from distillery.scoring.retention import Floats
from distillery.stages.evaluation.costs import cost_document
from distillery.stages.evaluation.evidence import Evidence
from distillery.stages.evaluation.judging import judge
from distillery.stages.evaluation.metrics import metrics_document, noise_of
from distillery.stages.evaluation.quality import Judging, Quality, choose_basis, measure, slice_names
from distillery.stages.evaluation.rows import (
    ScoredRow,
    StudentAnswer,
    TeacherAnswer,
    TestRow,
    row_score_of,
    score_rows,
)
from distillery.stages.evaluation.spec import EvaluationParams
from distillery.stages.evaluation.timing import latency_document

LABELS = ["billing", "login", "shipping", "refund", "bug", "feature request", "cancellation"]
TEXTS = {
    "billing": "I was charged twice for the last month, the invoice says 49 instead of 24.50.",
    "login": "My password is rejected although I have reset it twice today.",
    "shipping": "The parcel should have been here on Monday and tracking has not moved since.",
    "refund": "Please send my money back, the return arrived at your warehouse last week.",
    "bug": "Since the update the app closes as soon as I open the calendar.",
    "feature request": "It would help us a lot if reports could be exported as CSV.",
    "cancellation": "We no longer need the service, please end our plan by the end of the month.",
}
GATES = {
    "retention": {"min": 0.90, "basis": "reference"},
    "slices": {"minRetention": 0.85},
    "latency": {"p95Ms": 50},
}


def make_params(
    gates: dict[str, Any] | None = None, output: dict[str, Any] | None = None, **changes: Any
) -> EvaluationParams:
    """Return parameters of a label task with prices; `changes` replace fields."""
    shape = Output.model_validate(output or {"format": "label", "labels": LABELS})
    fields: dict[str, Any] = {
        "evaluation": Evaluation.model_validate({"gates": GATES if gates is None else gates}),
        "task": Task(
            system_prompt="Route the ticket. Answer with one category.",
            output=shape,
            monthly_requests=2_000_000,
        ),
        "teacher": TeacherSettings(
            identity="large-chat@example",
            model="large-chat-model",
            revision="2026-11",
            parameters=Parameters(max_tokens=16, top_logprobs=20),
            system_prompt="Route the ticket. Answer with one category.",
            output=shape,
            url="http://127.0.0.1:9/v1",
            pricing=Pricing.model_validate({"promptPerMillion": "2.50", "completionPerMillion": "10.00"}),
        ),
        "max_failed": 0.02,
        "slices": ["foreign", "very short", "nobody"],
        "release": Release(name="ticket-router"),
        "base": Base.model_validate({"architecture": {"model_type": "llama"}}),
    }
    return EvaluationParams(**{**fields, **changes})


def make_row(
    number: int = 0,
    text: str = "hello",
    reference: str | None = "login",
    group: str | None = None,
    slices: Sequence[str] = (),
) -> TestRow:
    """Return a test row of one user message."""
    messages = [{"role": "user", "content": text}]
    return TestRow(f"r{number:05}", group, tuple(slices), messages, render("Route.", messages), reference)


def said(answer: str | None, **facts: Any) -> TeacherAnswer:
    """Return a teacher's answer of 60 and 2 tokens."""
    defaults = {"prompt_tokens": 60, "completion_tokens": 2, "seconds": 0.3}
    return TeacherAnswer("answered", answer or "hmm", answer, **{**defaults, **facts})


def make_rows(count: int = 600, seed: int = 5, student_skill: float = 0.94) -> tuple[list[ScoredRow], Floats]:
    """Return scored tickets and the student's log-probabilities; the foreign slice is hard for the student."""
    rng = random.Random(seed)
    rows, teachers, students, log_probs = [], [], [], []
    for number in range(count):
        truth = rng.choice(LABELS)
        slices = [f"category={truth}", *(["foreign"] if rng.random() < 0.1 else [])]
        slices += ["very short"] if rng.random() < 0.03 else []
        teacher = truth if rng.random() < 0.95 else rng.choice(LABELS)
        skill = student_skill - (0.15 if "foreign" in slices else 0.0)
        student = teacher if rng.random() < skill else rng.choice(LABELS)
        sure = min(0.99, max(0.2, rng.gauss(0.9 if student == truth else 0.6, 0.12)))
        probs = np.full(len(LABELS), (1 - sure) / (len(LABELS) - 1))
        probs[LABELS.index(student)] = sure
        chosen = LABELS[int(probs.argmax())]
        rows.append(make_row(number, f"{TEXTS[truth]} (ticket {number})", truth, None, slices))
        failed = rng.random() < 0.004
        teachers.append(TeacherAnswer("failed", reason="TimedOut") if failed else said(teacher))
        students.append(StudentAnswer(chosen, chosen, float(probs.max()), rng.random() < 0.98))
        log_probs.append(np.log(probs))
    return score_rows(rows, teachers, students, "equal"), np.array(log_probs)


def measure_all(params: EvaluationParams, rows: Sequence[ScoredRow]) -> Quality:
    """Measure as the driver does."""
    gates = params.evaluation.gates
    judging = Judging(
        basis=choose_basis(gates, params.task.output.format, rows),
        confidence=gates.retention.confidence if gates.retention else 0.95,
        floor=gates.slices.min_retention if gates.slices else None,
    )
    return measure(rows, slice_names(params.slices, rows), judging)


def make_evidence(
    params: EvaluationParams | None = None,
    rows: Sequence[ScoredRow] | None = None,
    log_probs: Floats | None = None,
) -> Evidence:
    """Return the evidence of an evaluation of tickets, or of the given rows."""
    params = params or make_params()
    if rows is None:
        rows, log_probs = make_rows()
    kind = row_score_of(params.task.output, params.evaluation.metrics)
    quality = measure_all(params, rows)
    rng = random.Random(7)
    again = [
        said(row.teacher.answer if rng.random() < 0.99 else "bug", seconds=rng.gauss(0.41, 0.05))
        for row in rows[:200]
    ]
    noise = noise_of(rows[:200], again, kind, quality.confidence)
    metrics = metrics_document(
        rows, quality, noise, log_probs, (params.task.output, params.evaluation.metrics, kind)
    )
    latency = latency_document(again, [abs(rng.gauss(0.006, 0.001)) for _ in again])
    bought = [Usage(60, 0, 2)] * 6000
    first = [row.teacher for row in rows]
    return Evidence(
        job="ticket-routing",
        identity="3f9ac2d4e1b70c55a2b1" + "0" * 44,
        created_at="2026-11-22 15:04 UTC",
        params=params,
        rows=rows,
        verdict=judge(params.evaluation.gates, quality, metrics["rows"], params.max_failed, latency),
        metrics=metrics,
        latency=latency,
        cost=cost_document(params.teacher, first, bought, params.task.monthly_requests),
        training=training_document(),
        training_log=training_log(),
        funnel=FUNNEL,
        coverage=coverage_document(metrics["slices"]),
        parents={name: make_manifest(name) for name in ("dataset", "teacher", "filter", "student")},
    )


def make_manifest(stage: str) -> Manifest:
    """Return a manifest that says little."""
    return Manifest(
        stage=stage,
        identity=f"{len(stage):064x}",
        recipe="r",
        writer="w",
        files=[],
        output_digest=f"{len(stage) + 100:064x}",
        provenance={"distillery": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
    )


def training_document() -> dict[str, Any]:
    """Return training.json as the student stage writes it."""
    return {
        "version": 1,
        "model": {
            "type": "llama",
            "parameters": 432_480,
            "sizeBytes": 1_734_912,
            "vocabularySize": 2000,
            "maxLength": 256,
        },
        "rows": {"train": {"used": 4870}, "trainWithCopies": 4870, "validation": {"used": 297}},
        "softCoverage": 0.99,
        "steps": {"planned": 1071, "taken": 1071, "perEpoch": 153, "best": 912},
        "stoppedEarly": False,
        "best": {"loss": 0.31, "agreement": 0.93},
    }


def training_log() -> list[dict[str, Any]]:
    """Return a training log with a look at the validation split every 38 steps."""
    rng = random.Random(1)
    log = []
    for step in range(1, 1072):
        loss = 0.25 + 1.75 * np.exp(-step / 160) + rng.gauss(0, 0.05)
        look = step % 38 == 0
        log.append(
            {
                "step": step,
                "epoch": step / 153,
                "learning_rate": 1e-3,
                "train_loss": float(loss),
                "validation_loss": float(0.31 + 1.7 * np.exp(-step / 170)) if look else None,
                "validation_agreement": 0.9 if look else None,
            }
        )
    return log


FUNNEL: dict[str, Any] = {
    "version": 1,
    "asked": 5400,
    "kept": 5167,
    "rejected": 230,
    "failed": 3,
    "rules": [
        {"rule": "consistency", "reason": "the samples disagree", "rows": 141, "splits": {}, "slices": {}},
        {"rule": "format", "reason": "no label of the task", "rows": 80, "splits": {}, "slices": {}},
        {"rule": "length", "reason": "the answer was cut off", "rows": 9, "splits": {}, "slices": {}},
        {"rule": "teacher", "reason": "TimedOut", "rows": 3, "splits": {}, "slices": {}},
    ],
}


def coverage_document(slices: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return coverage.json with ten training rows for every test row."""
    return {
        "version": 1,
        "rows": 6000,
        "funnel": {
            "read": 6421,
            "duplicates": 102,
            "beyondLimit": 0,
            "nearDuplicates": {"train": 300, "validation": 9, "test": 10},
            "conflictingReferences": 0,
        },
        "slices": [
            {
                "name": item["name"],
                "rows": 11 * item["rows"],
                "splits": {"train": {"rows": 10 * item["rows"]}},
            }
            for item in slices
        ],
    }

"""metrics.json: retention, metrics of both models, noise, validity, calibration, confusion, slices. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distillery.api.v1alpha1.evaluation import Metric
from distillery.api.v1alpha1.task import Output
from distillery.scoring.calibration import calibration
from distillery.scoring.intervals import newcombe_paired, wilson
from distillery.scoring.metrics import Answer, RowScore, accuracy, macro_f1, mean_chrf, row_score
from distillery.scoring.retention import Floats, PairedScores, estimate
from distillery.stages.evaluation.quality import Quality, describe, describe_slices, rounded
from distillery.stages.evaluation.rows import ScoredRow, TeacherAnswer

METRICS_VERSION = 1
DEFAULT_METRICS: dict[str, list[Metric]] = {
    "label": ["accuracy", "macroF1"],
    "json": ["exactMatch"],
    "text": ["chrF"],
}
MEASURES: dict[Metric, Callable[[Sequence[Answer], Sequence[str]], float | None]] = {
    "accuracy": accuracy,
    "exactMatch": accuracy,
    "macroF1": macro_f1,
    "chrF": mean_chrf,
}


def metrics_document(
    rows: Sequence[ScoredRow],
    quality: Quality,
    noise: dict[str, Any] | None,
    log_probs: Floats | None,
    task: tuple[Output, Sequence[Metric] | None, RowScore],
) -> dict[str, Any]:
    """Return the document; docs/stages/evaluation.md describes it.

    Args:
        rows: all test rows.
        quality: estimates over them.
        noise: the teacher against itself (`noise_of`), None if it was not asked again.
        log_probs: the student's, [rows, labels], NaN where it has none; None for tasks without labels.
        task: output format, metrics asked for, how a row is scored.
    """
    output, wanted, kind = task
    against = "reference" if quality.basis == "reference" else "teacher"
    return {
        "version": METRICS_VERSION,
        "basis": quality.basis,
        "format": output.format,
        "rowScore": kind,
        "confidence": quality.confidence,
        "rows": count_rows(rows),
        "overall": describe(quality.overall),
        "agreement": describe(quality.agreement),
        "servingNoise": noise,
        "difference": _difference(rows, kind),
        "metrics": _metrics(rows, wanted or DEFAULT_METRICS[output.format]),
        "validity": _validity(rows),
        "calibration": _calibration(rows, log_probs, output, against),
        "confusion": _confusion(rows, output, against),
        "slices": describe_slices(quality),
    }


def count_rows(rows: Sequence[ScoredRow]) -> dict[str, int]:
    """Count the test rows by what can be said of them."""
    answered = [row for row in rows if row.teacher.status == "answered"]
    return {
        "test": len(rows),
        "teacherFailed": len(rows) - len(answered),
        "teacherInvalid": sum(row.teacher.answer is None for row in answered),
        "tooLong": sum(row.student.too_long for row in rows),
        "withReference": sum(row.row.reference is not None for row in rows),
        "groups": len({row.row.group for row in rows if row.row.group is not None}),
    }


def noise_of(
    rows: Sequence[ScoredRow],
    again: Sequence[TeacherAnswer],
    kind: RowScore,
    confidence: float,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return how far the teacher agrees with its own first answers to the same rows; None without any.

    Rows are left out where one of the two answers failed or is no answer of the task's format.
    """
    pairs = [
        (row, row_score(kind, second.answer, row.teacher.answer))
        for row, second in zip(rows, again, strict=True)
        if row.teacher.answer is not None and second.answer is not None
    ]
    if not pairs:
        return None
    scores = PairedScores.of([score for _, score in pairs], None, [row.row.group for row, _ in pairs])
    return describe(estimate(scores, confidence=confidence, seed=seed).estimates[0])


def _compared(rows: Sequence[ScoredRow]) -> list[ScoredRow]:
    return [row for row in rows if row.student_score is not None]


def _truth(row: ScoredRow, against: str) -> str | None:
    if row.teacher.status != "answered":
        return None
    return row.row.reference if against == "reference" else row.teacher.answer


def _difference(rows: Sequence[ScoredRow], kind: RowScore) -> dict[str, Any] | None:
    """Return the student's share of right answers less the teacher's, for right-or-wrong rows without groups."""
    scored = _compared(rows)
    if kind != "equal" or not scored or any(row.row.group is not None for row in scored):
        return None
    cells = Counter((row.student_score == 1, row.teacher_score == 1) for row in scored)
    both, student, teacher, neither = (
        cells[cell] for cell in ((True, True), (True, False), (False, True), (False, False))
    )
    interval = newcombe_paired(both, student, teacher, neither)
    return {
        "value": rounded((student - teacher) / len(scored)),
        "interval": [rounded(interval.low), rounded(interval.high)],
        "bothRight": both,
        "studentOnly": student,
        "teacherOnly": teacher,
        "bothWrong": neither,
    }


def _metrics(rows: Sequence[ScoredRow], wanted: Sequence[Metric]) -> list[dict[str, Any]]:
    """Return each metric of teacher and student against the references, and of the student against the teacher."""
    scored = _compared(rows)
    truths = [row.row.reference or "" for row in scored]
    followed = [row for row in rows if row.agreement is not None]
    answers = [row.teacher.answer or "" for row in followed]
    return [
        {
            "name": name,
            "teacher": rounded(MEASURES[name]([row.teacher.answer for row in scored], truths)),
            "student": rounded(MEASURES[name]([row.student.answer for row in scored], truths)),
            "studentAgainstTeacher": rounded(
                MEASURES[name]([row.student.answer for row in followed], answers)
            ),
        }
        for name in wanted
    ]


def _validity(rows: Sequence[ScoredRow]) -> dict[str, Any] | None:
    """Return how often the student, generating freely, gives an answer of the task's format."""
    if not rows:
        return None
    valid = sum(bool(row.student.valid) for row in rows)
    interval = wilson(valid, len(rows))
    return {
        "rows": len(rows),
        "valid": valid,
        "share": rounded(valid / len(rows)),
        "interval": [rounded(interval.low), rounded(interval.high)],
    }


def _calibration(
    rows: Sequence[ScoredRow], log_probs: Floats | None, output: Output, against: str
) -> dict[str, Any] | None:
    if log_probs is None or not output.labels:
        return None
    number = {label: i for i, label in enumerate(output.labels)}
    truths = [number.get(_truth(row, against) or "", -1) for row in rows]
    usable = [i for i, truth in enumerate(truths) if truth >= 0 and not rows[i].student.too_long]
    found = calibration(log_probs[usable], np.array([truths[i] for i in usable], dtype=np.int64))
    if found is None:
        return None
    return {
        "against": against,
        "rows": found.rows,
        "expectedError": rounded(found.expected_error),
        "brier": rounded(found.brier),
        "logLoss": rounded(found.log_loss),
        "bins": [
            {"rows": part.rows, "confidence": rounded(part.confidence), "accuracy": rounded(part.accuracy)}
            for part in found.bins
        ],
    }


def _confusion(rows: Sequence[ScoredRow], output: Output, against: str) -> dict[str, Any] | None:
    """Return how often which label was answered for which; pairs that never occur are left out."""
    if output.format != "label" or not output.labels:
        return None
    pairs = Counter(
        (truth, row.student.answer) for row in rows if (truth := _truth(row, against)) is not None
    )
    order = {label: i for i, label in enumerate(output.labels)}
    return {
        "against": against,
        "labels": list(output.labels),
        "pairs": [
            {"truth": truth, "answer": answer, "rows": count}
            for (truth, answer), count in sorted(
                pairs.items(), key=lambda pair: (order[pair[0][0]], order.get(pair[0][1] or "", len(order)))
            )
        ],
    }

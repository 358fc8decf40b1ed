"""The test rows, what teacher and student answered to them, and the scores of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from distillery.api.v1alpha1.evaluation import Metric
from distillery.api.v1alpha1.task import Output
from distillery.rules.normalising import normalise
from distillery.rules.prompts import Message, render
from distillery.scoring.metrics import RowScore, row_score


@dataclass(frozen=True, slots=True)
class TestRow:
    """A row of the test split. `conversation` is rendered, `reference` normalised."""

    __test__ = False  # no test class, whatever pytest makes of its name

    row_id: str
    group: str | None
    slices: tuple[str, ...]
    messages: list[Message]
    conversation: list[Message]
    reference: str | None


@dataclass(frozen=True, slots=True)
class TeacherAnswer:
    """What came of asking. `answer` is normalised, None where `text` is no answer of the task's format.

    `reason` says why a failed one has no text. Tokens are those billed.
    """

    status: Literal["answered", "failed"]
    text: str | None = None
    answer: str | None = None
    reason: str | None = None
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class StudentAnswer:
    """What the student said. `answer` is normalised, None where it has none.

    `confidence` is the probability of the chosen label; `valid` says whether free generation gave an answer of
    the task's format; `too_long` marks rows that the student cannot read.
    """

    text: str | None
    answer: str | None
    confidence: float | None = None
    valid: bool | None = None
    too_long: bool = False


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """Everything about one test row. A score is None where there is nothing to compare with."""

    row: TestRow
    teacher: TeacherAnswer
    student: StudentAnswer
    teacher_score: float | None
    student_score: float | None
    agreement: float | None


def read_test_rows(
    inputs: Sequence[Mapping[str, Any]], system_prompt: str | None, output: Output
) -> list[TestRow]:
    """Pick the test split out of the rows of inputs.parquet, sorted by row id."""
    rows = [
        TestRow(
            row_id=row["row_id"],
            group=row["group"],
            slices=tuple(row["slices"] or ()),
            messages=row["messages"],
            conversation=render(system_prompt, row["messages"]),
            reference=None if row["reference"] is None else normalise(row["reference"], output),
        )
        for row in inputs
        if row["split"] == "test"
    ]
    return sorted(rows, key=lambda row: row.row_id)


def row_score_of(output: Output, metrics: Sequence[Metric] | None) -> RowScore:
    """Return how answers are compared: equality, but for text its declared metric, chrF if none is declared."""
    if output.format != "text":
        return "equal"
    return "equal" if metrics and "chrF" not in metrics else "chrF"


def score_rows(
    rows: Sequence[TestRow],
    teachers: Sequence[TeacherAnswer],
    students: Sequence[StudentAnswer],
    kind: RowScore,
) -> list[ScoredRow]:
    """Score teacher and student against the reference, and the student against the teacher.

    Rows that the teacher left unanswered are not scored at all, or the student alone would be measured on them.
    """
    return [
        _score(row, teacher, student, kind)
        for row, teacher, student in zip(rows, teachers, students, strict=True)
    ]


def _score(row: TestRow, teacher: TeacherAnswer, student: StudentAnswer, kind: RowScore) -> ScoredRow:
    teacher_score = student_score = agreement = None
    if teacher.status == "answered":
        if row.reference is not None:
            teacher_score = row_score(kind, teacher.answer, row.reference)
            student_score = row_score(kind, student.answer, row.reference)
        if teacher.answer is not None:
            agreement = row_score(kind, student.answer, teacher.answer)
    return ScoredRow(row, teacher, student, teacher_score, student_score, agreement)


def prediction(scored: ScoredRow) -> dict[str, Any]:
    """Return the row of predictions.parquet. Answers without a normal form stand as they were given."""
    confidence = scored.student.confidence
    return {
        "row_id": scored.row.row_id,
        "group": scored.row.group,
        "slices": list(scored.row.slices),
        "messages": scored.row.messages,
        "reference": scored.row.reference,
        "teacher_status": scored.teacher.status,
        "teacher_answer": scored.teacher.text if scored.teacher.answer is None else scored.teacher.answer,
        "student_answer": scored.student.text if scored.student.answer is None else scored.student.answer,
        # Rounded, so that the digest does not hang on the last bit of a machine's exponential function.
        "student_confidence": None if confidence is None else round(confidence, 6),
        "student_valid": scored.student.valid,
        "teacher_score": scored.teacher_score,
        "student_score": scored.student_score,
        "agreement": scored.agreement,
    }

"""Rows on which teacher and student part, worst first, as the report sets them side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distillery.scoring.metrics import RowScore
from distillery.stages.evaluation.report.wording import percent
from distillery.stages.evaluation.rows import ScoredRow

FIRST = 10
SHOWN = 40
LONGEST_INPUT = 3000
LONGEST_ANSWER = 2000

Kind = Literal["teacher", "differ", "student", "both"]
GRADED_TITLES: dict[Kind, str] = {
    "teacher": "The teacher is nearer",
    "differ": "The two differ",
    "student": "The student is nearer",
    "both": "Both are equally near",
}
TITLES: dict[Kind, str] = {
    "teacher": "Only the teacher is right",
    "differ": "The two differ",
    "student": "Only the student is right",
    "both": "Both are wrong, differently",
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One row. Texts are cut where they are very long; `earlier` counts messages before the last one."""

    kind: Kind
    title: str
    row_id: str
    slices: str
    text: str
    earlier: int
    reference: str | None
    teacher: str
    student: str
    teacher_note: str
    student_note: str


@dataclass(frozen=True, slots=True)
class Disagreements:
    """The rows shown at once, those behind a click, and how many there are in all."""

    first: list[Disagreement]
    more: list[Disagreement]
    total: int


def disagreements(rows: Sequence[ScoredRow], kind: RowScore) -> Disagreements:
    """Return rows on which the two differ: first where only the teacher is right, surest errors first.

    A teacher's answer that is none of the task's format differs from every student's.
    """
    parted = [
        row
        for row in rows
        if row.teacher.status == "answered" and (row.agreement is None or row.agreement < 1)
    ]
    order = list(TITLES)
    ranked = sorted(
        parted,
        key=lambda row: (
            order.index(kind_of(row)),
            _nearness(row),
            -(row.student.confidence or 0.0),
            row.row.row_id,
        ),
    )
    shown = [_show(row, graded=kind != "equal") for row in ranked[:SHOWN]]
    return Disagreements(shown[:FIRST], shown[FIRST:], len(parted))


def kind_of(row: ScoredRow) -> Kind:
    """Say who is right, as far as a reference tells."""
    if row.teacher_score is None or row.student_score is None or row.teacher_score == row.student_score:
        return "differ" if row.teacher_score is None else "both"
    return "teacher" if row.teacher_score > row.student_score else "student"


def _nearness(row: ScoredRow) -> float:
    """Order graded rows by the student's score; where answers are right or wrong this changes nothing."""
    return row.student_score if row.student_score is not None else row.agreement or 0.0


def _show(row: ScoredRow, *, graded: bool) -> Disagreement:
    kind = kind_of(row)
    messages, reference = row.row.messages, row.row.reference
    sure = row.student.confidence
    scores = [
        percent(score, 0) if graded and score is not None else ""
        for score in (row.teacher_score, row.student_score)
    ]
    return Disagreement(
        kind=kind,
        title=(GRADED_TITLES if graded else TITLES)[kind],
        row_id=row.row.row_id,
        slices=", ".join(row.row.slices),
        text=cut(messages[-1]["content"] if messages else "", LONGEST_INPUT),
        earlier=max(0, len(messages) - 1),
        reference=None if reference is None else cut(reference, LONGEST_ANSWER),
        teacher=cut(row.teacher.answer or row.teacher.text or "no answer", LONGEST_ANSWER),
        student="too long to read"
        if row.student.too_long
        else cut(row.student.answer or row.student.text or "no answer", LONGEST_ANSWER),
        teacher_note=scores[0],
        student_note=scores[1] if sure is None else f"{percent(sure, 0)} sure",
    )


def cut(text: str, most: int) -> str:
    """Return a text of at most `most` characters, saying how much is left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"

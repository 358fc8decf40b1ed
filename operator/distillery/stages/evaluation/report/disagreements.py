"""Rows on which teacher and student part, worst first, as the report sets them side by side. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from distillery.stages.evaluation.report.wording import percent
from distillery.stages.evaluation.rows import ScoredRow

SHOWN = 40
LONGEST_INPUT = 3000
LONGEST_ANSWER = 2000

Kind = Literal["teacher", "differ", "student", "both"]
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
    confidence: str | None


@dataclass(frozen=True, slots=True)
class Disagreements:
    """The rows shown, and how many there are in all."""

    shown: list[Disagreement]
    total: int


def disagreements(rows: Sequence[ScoredRow]) -> Disagreements:
    """Return rows on which the two differ: first where only the teacher is right, surest errors first."""
    parted = [row for row in rows if row.agreement is not None and row.agreement < 1]
    ranked = sorted(
        parted,
        key=lambda row: (list(TITLES).index(kind_of(row)), -(row.student.confidence or 0.0), row.row.row_id),
    )
    return Disagreements([_show(row) for row in ranked[:SHOWN]], len(parted))


def kind_of(row: ScoredRow) -> Kind:
    """Say who is right, as far as a reference tells."""
    if row.teacher_score is None or row.student_score is None or row.teacher_score == row.student_score:
        return "differ" if row.teacher_score is None else "both"
    return "teacher" if row.teacher_score > row.student_score else "student"


def _show(row: ScoredRow) -> Disagreement:
    kind = kind_of(row)
    messages = row.row.messages
    confidence = row.student.confidence
    return Disagreement(
        kind=kind,
        title=TITLES[kind],
        row_id=row.row.row_id,
        slices=", ".join(row.row.slices),
        text=cut(messages[-1]["content"] if messages else "", LONGEST_INPUT),
        earlier=max(0, len(messages) - 1),
        reference=None if row.row.reference is None else cut(row.row.reference, LONGEST_ANSWER),
        teacher=cut(row.teacher.answer or row.teacher.text or "no answer", LONGEST_ANSWER),
        student="too long to read" if row.student.too_long else _answer(row),
        confidence=None if confidence is None else f"{percent(confidence, 0)} sure",
    )


def _answer(row: ScoredRow) -> str:
    return cut(row.student.answer or row.student.text or "no answer", LONGEST_ANSWER)


def cut(text: str, most: int) -> str:
    """Return a text of at most `most` characters, saying how much is left out."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"

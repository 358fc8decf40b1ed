"""latency.json: the teacher over HTTP and the student in process, on the same rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distillery.stages.evaluation.rows import TeacherAnswer

LATENCY_VERSION = 1
TEACHER_WHERE = "over HTTP, one call at a time"
STUDENT_WHERE = "in process, one row at a time"
NOTE = "The two are measured differently, so no factor between them is claimed."


def latency_document(again: Sequence[TeacherAnswer], student_seconds: Sequence[float]) -> dict[str, Any]:
    """Return the document.

    `again` are the teacher's second answers, asked one at a time. A cached answer keeps the time that it took
    when it was bought, and is counted.
    """
    timed = [answer for answer in again if answer.seconds is not None]
    teacher = _side(TEACHER_WHERE, [answer.seconds or 0.0 for answer in timed])
    if teacher is not None:
        teacher["fromCache"] = sum(answer.cached for answer in timed)
    return {
        "version": LATENCY_VERSION,
        "teacher": teacher,
        "student": _side(STUDENT_WHERE, student_seconds),
        "note": NOTE,
    }


def _side(where: str, seconds: Sequence[float]) -> dict[str, Any] | None:
    if not seconds:
        return None
    middle, late = np.quantile(np.asarray(seconds) * 1000, [0.5, 0.95])
    return {
        "where": where,
        "rows": len(seconds),
        "p50Ms": round(float(middle), 3),
        "p95Ms": round(float(late), 3),
    }

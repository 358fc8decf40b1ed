"""The teacher on the test rows: one pass for its answers, then some rows again for noise and latency."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

from distillery.api.v1alpha1.task import Output
from distillery.errors import StageFailed
from distillery.querying import Answer, Question, Result, TeacherEngine, Usage, lost_to_teacher
from distillery.rules.normalising import normalise
from distillery.stages.evaluation.pace import OnAsked
from distillery.stages.evaluation.rows import TeacherAnswer, TestRow

NOISE_SAMPLE = 1
"""Sample index of the second answer; 0 is production's."""


class TeacherPredictor:
    """Asks about test rows through the engine, so that no answer is bought twice."""

    def __init__(self, engine: TeacherEngine, output: Output, stop_requested: Callable[[], bool]) -> None:
        self._engine = engine
        self._output = output
        self._stop_requested = stop_requested

    def answer(self, rows: Sequence[TestRow], on_asked: OnAsked) -> list[TeacherAnswer]:
        """Return production's answers to all rows. `on_asked` hears how far it is and what was spent.

        Raises: what the engine raises: StageFailed, StageStopped.
        """
        return self._ask([Question(row.row_id, row.conversation) for row in rows], None, on_asked)

    def answer_again(self, rows: Sequence[TestRow], on_asked: OnAsked) -> list[TeacherAnswer]:
        """Return second answers, asked one at a time: their time is that of a call, not of a queue."""
        questions = [Question(row.row_id, row.conversation, NOISE_SAMPLE) for row in rows]
        return self._ask(questions, 1, on_asked)

    def _ask(
        self, questions: Sequence[Question], concurrency: int | None, on_asked: OnAsked
    ) -> list[TeacherAnswer]:
        results = self._engine.ask(
            questions, concurrency=concurrency, on_progress=on_asked, stop_requested=self._stop_requested
        )
        return [read_answer(result, self._output) for result in results]


def read_answer(result: Result, output: Output) -> TeacherAnswer:
    """Turn what the engine gave into an answer; a refusal is an answer that scores 0."""
    if isinstance(result, Answer):
        return TeacherAnswer(
            status="answered",
            text=result.text,
            answer=normalise(result.text, output),
            prompt_tokens=result.usage.prompt,
            cached_prompt_tokens=result.usage.cached,
            completion_tokens=result.usage.completion,
            seconds=result.seconds,
            cached=result.cached,
        )
    paid = result.usage or Usage()
    return TeacherAnswer(
        status="failed",
        reason=result.reason,
        prompt_tokens=paid.prompt,
        cached_prompt_tokens=paid.cached,
        completion_tokens=paid.completion,
    )


def check_presence(teachers: Sequence[TeacherAnswer], max_failed: float) -> None:
    """Check that a verdict can be given: a teacher that was away says nothing about the student.

    Args:
        teachers: what came of all test rows.
        max_failed: share of them that may stay unanswered.

    Raises: StageFailed(TooManyFailed), as infrastructure.
    """
    away = Counter(lost_to_teacher(teacher.reason for teacher in teachers))
    if away.total() <= max_failed * len(teachers):
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in away.most_common())
    what = f"{away.total()} of {len(teachers)} test rows stayed unanswered because the teacher was away: {reasons}"
    repair = "run again when the teacher is well: answers bought so far are kept"
    raise StageFailed("TooManyFailed", f"{what} → {repair}", "infrastructure")


def noise_rows(rows: Sequence[TestRow], teachers: Sequence[TeacherAnswer], most: int, seed: int) -> list[int]:
    """Choose at most `most` answered rows to ask again, by hash: return their positions, in order."""
    answered = [i for i, teacher in enumerate(teachers) if teacher.status == "answered"]
    chosen = sorted(answered, key=lambda i: hashlib.sha256(f"{seed}:{rows[i].row_id}".encode()).digest())
    return sorted(chosen[:most])

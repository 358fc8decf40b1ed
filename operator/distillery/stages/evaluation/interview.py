"""Both models before the test rows: first the teacher, then the student, then both once more for noise and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distillery.api.teacher_settings import TeacherSettings
from distillery.artifacts.manifest import Cost
from distillery.scoring.retention import Floats
from distillery.stages import asking
from distillery.stages.context import StageContext
from distillery.stages.evaluation.pace import Pace
from distillery.stages.evaluation.rows import StudentAnswer, TeacherAnswer, TestRow
from distillery.stages.evaluation.spec import EvaluationParams
from distillery.stages.evaluation.student_answers import Model, StudentPredictor
from distillery.stages.evaluation.teacher_answers import TeacherPredictor, check_presence, noise_rows


@dataclass(frozen=True, slots=True)
class Interview:
    """What was said to the test rows, in their order.

    `noise` are positions of the rows that were put again, `again` the teacher's answers to them and
    `student_seconds` the student's times on them. `log_probs` has shape [rows, labels].
    """

    teacher: list[TeacherAnswer]
    noise: list[int]
    again: list[TeacherAnswer]
    student: list[StudentAnswer]
    log_probs: Floats | None
    student_seconds: list[float]
    cost: Cost


def interview(
    context: StageContext, params: EvaluationParams, model: Model, rows: Sequence[TestRow]
) -> Interview:
    """Ask both models. Raises: StageFailed if the teacher cannot be asked, StageStopped after a stop request."""
    settings: TeacherSettings = params.teacher
    noise_count = min(params.evaluation.noise_rows, len(rows))
    pace = Pace(context, 2 * len(rows) + 2 * noise_count)
    with asking.open_engine(context, settings) as engine:
        teacher = TeacherPredictor(engine, params.task.output, context.stop_requested)
        first = teacher.answer(rows, pace.asking_phase("asking the teacher", len(rows)))
        check_presence(first, params.max_failed)
        noise = noise_rows(rows, first, noise_count, params.evaluation.seed)
        repeated = [rows[i] for i in noise]
        again = teacher.answer_again(
            repeated, pace.asking_phase("asking the teacher again, one by one", noise_count)
        )
        cost = engine.cost
    student = StudentPredictor(model, params.task.output, settings.parameters.max_tokens)
    answers, log_probs = student.answer(rows, pace.stoppable_phase("asking the student", len(rows)))
    seconds = student.time(repeated, context.now, pace.stoppable_phase("timing the student", noise_count))
    return Interview(first, noise, again, answers, log_probs, seconds, cost)

"""The preflight: what later stages depend on is tried out once, before hours and money go into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, assert_never

from distillery.artifacts.manifest import Cost
from distillery.artifacts.store import ObjectStore
from distillery.errors import StageFailed
from distillery.querying import (
    Answer,
    EngineOptions,
    Question,
    TeacherDown,
    TeacherRefuses,
    Unanswered,
    after_trial,
)
from distillery.rules.prompts import render
from distillery.stages import asking
from distillery.stages.context import StageContext
from distillery.stages.dataset.inputs import Inputs, TableRow
from distillery.stages.dataset.spec import DatasetParams

if TYPE_CHECKING:
    from distillery.modeling.base import BaseFacts

MEASURED_ROWS = 5000
"""Prompts whose length in tokens is measured."""
PATIENCE_SECONDS = 120.0
"""A teacher that hangs is told apart from a slow one after this long; labelling itself is more patient."""


def preflight(context: StageContext, params: DatasetParams, inputs: Inputs) -> Cost:
    """Check base model and teacher, the cheaper first. Nothing of it enters the artifact.

    Returns: what the one call to the teacher cost; it is in the ledger and in the answer cache.

    Raises:
        StageFailed: the teacher refuses, or returns no logprobs although soft labels are to be learnt.
        SpecError: the base model cannot be used.
    """
    check_base(context, params, inputs)
    context.check_stop()
    return check_teacher(context, params, inputs.split("train"))


def check_base(context: StageContext, params: DatasetParams, inputs: Inputs) -> None:
    """Check the student's base; warn about inputs that are too long for it. Raises: SpecError."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        context.warn(
            "the student's base model was not checked: torch and transformers are not installed here"
        )
        return
    from distillery.modeling import base  # lazy: torch takes seconds, and reuse must not pay for it

    def open_folder(uri: str) -> ObjectStore:
        return context.open_source(uri, None, None)

    folder = context.scratch / "base"
    folder.mkdir(parents=True, exist_ok=True)
    facts = base.check_base(params.base, open_folder, folder, params.output.labels or ())
    known = [length for length in (facts.max_length, params.max_length) if length is not None]
    limited = replace(facts, max_length=min(known, default=None))
    warning = too_long(limited, params.teacher.system_prompt, inputs.rows)
    if warning:
        context.warn(warning)


def too_long(facts: BaseFacts, system_prompt: str | None, rows: Sequence[TableRow]) -> str | None:
    """Return a warning about prompts that do not fit the base model, or None.

    Of many rows every n-th is measured. A tokenizer that is still to be trained cannot say.
    """
    if facts.chat is None or facts.max_length is None:
        return None
    measured = rows[:: max(1, len(rows) // MEASURED_ROWS)]
    prompts = facts.chat.prompts([render(system_prompt, row["messages"]) for row in measured])
    long = sum(len(prompt) >= facts.max_length for prompt in prompts)
    if not long:
        return None
    return (
        f"{long / len(measured):.1%} of the inputs have {facts.max_length:,} or more tokens for the student: "
        "training rows among them are rejected, test rows score 0; shorten them or choose another base"
    )


def check_teacher(context: StageContext, params: DatasetParams, training: Sequence[TableRow]) -> Cost:
    """Ask about a training row as production would; about another one only if that row cannot be answered.

    Raises: StageFailed: TeacherRefused, TeacherUnavailable, NoLogprobs, and what the engine raises.
    """
    tried: list[Unanswered] = []
    options = EngineOptions(timeout_seconds=PATIENCE_SECONDS)
    with asking.open_engine(context, params.teacher, options) as engine:
        for number, row in enumerate(training, 1):
            question = Question(row["row_id"], render(params.teacher.system_prompt, row["messages"]))
            [result] = engine.ask([question], stop_requested=context.stop_requested)
            if isinstance(result, Answer):
                if params.loss.soft > 0:
                    check_logprobs(result, params)
                break
            tried.append(result)
            if (end := after_trial(tried, len(training) - number)) is not None:
                raise _no_answer(params.teacher.model, result, end)
        return engine.cost


def _no_answer(model: str, result: Unanswered, end: TeacherDown | TeacherRefuses) -> StageFailed:
    message = (
        f"the teacher {model} did not answer the preflight call for row "
        f"{result.question.row_id} ({result.reason}: {result.message})"
    )
    match end:
        case TeacherDown():
            repair = "check spec.teacher.endpoint.url and the server"
            return StageFailed("TeacherUnavailable", f"{message} → {repair}", "infrastructure")
        case TeacherRefuses():
            return StageFailed("TeacherRefused", f"{message} → correct spec.teacher or spec.task")
        case _:
            assert_never(end)


def check_logprobs(answer: Answer, params: DatasetParams) -> None:
    """Raise: StageFailed(NoLogprobs) if an answer lacks the alternatives that soft labels are made of."""
    if answer.logprobs and all(token.top for token in answer.logprobs):
        return
    asked = params.teacher.parameters.top_logprobs
    message = (
        f"spec.student.loss.soft is {params.loss.soft:g}, but the teacher {params.teacher.model} returned no "
        f"top logprobs (topLogprobs: {asked} were asked for) → set spec.student.loss to {{hard: 1, soft: 0}}, "
        "or choose a teacher that returns them"
    )
    raise StageFailed("NoLogprobs", message)

"""The student on the test rows: its answers, its confidence, what it says when left free, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from distillery.api.v1alpha1.task import Output
from distillery.rules.normalising import normalise
from distillery.rules.prompts import Message
from distillery.scoring.retention import Floats
from distillery.stages.evaluation.pace import OnDone
from distillery.stages.evaluation.rows import StudentAnswer, TestRow

BATCH_ROWS = 64
WARM_UP_ROWS = 3
MOST_LABEL_TOKENS = 64
"""Free generation of a label stops here; no label needs more, and a rambling student should not cost minutes."""

Conversation = Sequence[Message]


class Model(Protocol):
    """What the evaluation uses of a student (modeling.student_model.StudentModel)."""

    parameters: int
    size_bytes: int

    def fits(self, conversation: Conversation, labels: Sequence[str] = ()) -> bool:
        """Return whether the student can read the conversation and answer it."""
        ...

    def label_log_probs(
        self, conversations: Sequence[Conversation], labels: Sequence[str], batch_size: int = 32
    ) -> Floats:
        """Return normalised log-probabilities, shape [conversations, labels]."""
        ...

    def generate(
        self, conversations: Sequence[Conversation], max_new_tokens: int, batch_size: int = 32
    ) -> list[str]:
        """Return greedy answers."""
        ...


class StudentPredictor:
    """A student that answers a task: labels by their scores, everything else by generation."""

    def __init__(self, model: Model, output: Output, max_tokens: int) -> None:
        self.model = model
        self._output = output
        self._labels = tuple(output.labels or ()) if output.format == "label" else ()
        self._max_tokens = max_tokens
        if self._labels:
            longest = max(len(label.encode()) for label in self._labels)
            self._max_tokens = min(longest + 1, MOST_LABEL_TOKENS)

    def fits(self, row: TestRow) -> bool:
        """Return whether the row is short enough for the student."""
        return self.model.fits(row.conversation, self._labels)

    def answer(self, rows: Sequence[TestRow], on_done: OnDone) -> tuple[list[StudentAnswer], Floats | None]:
        """Return the answers, and for label tasks the log-probabilities [rows, labels], NaN where too long.

        `on_done` is called between batches; what it raises ends the work.
        """
        answers = [StudentAnswer(None, None, valid=False, too_long=True)] * len(rows)
        log_probs = np.full((len(rows), len(self._labels)), np.nan) if self._labels else None
        readable = [i for i, row in enumerate(rows) if self.fits(row)]
        done = len(rows) - len(readable)
        on_done(done)
        for batch in _batches(readable):
            conversations = [rows[i].conversation for i in batch]
            texts = self.model.generate(conversations, self._max_tokens)
            valid = [normalise(text, self._output) for text in texts]
            if log_probs is None:
                for i, text, answer in zip(batch, texts, valid, strict=True):
                    answers[i] = StudentAnswer(text, answer, valid=answer is not None)
            else:
                log_probs[batch] = self.model.label_log_probs(conversations, self._labels)
                for i, free in zip(batch, valid, strict=True):
                    answers[i] = self._label(log_probs[i], free is not None)
            done += len(batch)
            on_done(done)
        return answers, log_probs

    def _label(self, log_probs: Floats, valid: bool) -> StudentAnswer:
        best = int(log_probs.argmax())
        label = self._labels[best]
        return StudentAnswer(label, label, confidence=float(np.exp(log_probs[best])), valid=valid)

    def time(self, rows: Sequence[TestRow], now: Callable[[], float], on_done: OnDone) -> list[float]:
        """Return the seconds that each readable row takes alone, after a few rows to warm up."""
        readable = [row for row in rows if self.fits(row)]
        for row in readable[:WARM_UP_ROWS]:
            self._answer_one(row)
        seconds = []
        for number, row in enumerate(readable):
            start = now()
            self._answer_one(row)
            seconds.append(now() - start)
            on_done(number + 1)
        return seconds

    def _answer_one(self, row: TestRow) -> None:
        if self._labels:
            self.model.label_log_probs([row.conversation], self._labels, batch_size=1)
        else:
            self.model.generate([row.conversation], self._max_tokens, batch_size=1)


def _batches(positions: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(positions), BATCH_ROWS):
        yield list(positions[start : start + BATCH_ROWS])

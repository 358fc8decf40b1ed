"""The exceptions of distillery, sorted by what must happen next, not by what broke.

    DistilleryError
    ├── SpecError        the user edits the manifest or its data; carries one Problem per mistake
    ├── TransientError   the same call may succeed later; retried as infrastructure
    ├── StageFailed      a stage ended for a reason that is recorded; not retried unless its class says so
    ├── StageStopped     a stage was asked to stop, saved its state, and can be resumed
    └── Conflict         a conditional write met another writer's object; the caller adopts or re-reads

Anything else that escapes is a bug. Every class stays picklable, since Ray carries them between processes:
keep all arguments positional and hand them to `super().__init__` unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FailureClass = Literal["user", "budget", "pilot", "infrastructure", "preemption"]


class DistilleryError(Exception):
    """Base of everything that distillery raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in what the user wrote.

    `path` is the field (`spec.teacher.parameters.topLogprobs`) or the file and line (`tickets.jsonl:17`),
    `message` says what is wrong with which value, `repair` says what to write instead, `place` where a field
    is written (`job.yaml:12`, `--set`).
    """

    path: str
    message: str
    repair: str = ""
    place: str = ""

    def __str__(self) -> str:
        """Render as one line."""
        place = f"{self.place}: " if self.place else ""
        return f"{place}{self.path}: {self.message}" + (f" → {self.repair}" if self.repair else "")


class SpecError(DistilleryError):
    """The manifest or the data it names is wrong: the user has to edit it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class TransientError(DistilleryError):
    """Something outside failed in a way that may pass: a timeout, a 503, a lost connection."""


class StageFailed(DistilleryError):
    """A stage ended badly for a known reason.

    Args: `reason` is a CamelCase word for conditions (`PilotRejected`), `message` one or two sentences with the
    repair, `failure_class` what follows from it: `user` stops until an edit, `budget` and `pilot` stop with their
    own exit code, `infrastructure` is retried.
    """

    def __init__(self, reason: str, message: str, failure_class: FailureClass = "user") -> None:
        super().__init__(reason, message, failure_class)
        self.reason = reason
        self.message = message
        self.failure_class: FailureClass = failure_class

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class StageStopped(DistilleryError):
    """The stage saw the stop request, saved what it had and returned."""


class Conflict(DistilleryError):
    """A conditional write lost: the key exists (If-None-Match) or has changed (If-Match)."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"{self.key} was written by someone else in the meantime"

"""What users of the engine give and get: questions, what comes of them, and how far it is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

UnansweredReason = Literal[
    "RequestRejected",  # HTTP 400 or 422: this row cannot be asked like this
    "ContentFiltered",  # the provider refuses the row before the model sees it
    "ServerError",  # 5xx, again and again
    "TimedOut",
    "ConnectionLost",
    "UnreadableReply",  # no JSON, not the shape of a chat completion
    "NoChoices",  # a chat completion without an answer
]


@dataclass(frozen=True, slots=True)
class Question:
    """One call to make. `messages` are already rendered (rules.prompts.render).

    `sample_index` 0 is production's answer, 1… are extra samples; `temperature` None means the teacher's
    parameter.
    """

    row_id: str
    messages: list[dict[str, str]]
    sample_index: int = 0
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens the teacher says it billed; `cached` of the `prompt` tokens came from its prompt cache."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token, its natural log-probability, and the alternatives as (token, logprob), best first."""

    token: str
    logprob: float
    top: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A paid answer, usable or not: truncated and refused ones are data too.

    `cached` says that it was not bought now; `seconds` is how long the teacher took when it was bought.
    """

    question: Question
    key: str
    text: str
    finish_reason: str | None
    refusal: str | None
    usage: Usage
    model: str | None
    fingerprint: str | None
    logprobs: list[TokenLogprob] | None
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question that stayed without an answer, and why. `usage` is what failed calls cost, where they said so."""

    question: Question
    key: str
    reason: UnansweredReason
    message: str
    usage: Usage | None = None


Result = Answer | Unanswered


@dataclass(frozen=True, slots=True)
class AskProgress:
    """How far one `ask` is. `done` counts answered, unanswered and cached questions; `rate` is per second."""

    done: int
    total: int
    cached: int
    failed: int
    in_flight: int
    rate: float
    spent_micro: int


OnProgress = Callable[[AskProgress], None]
StopRequested = Callable[[], bool]
Warn = Callable[[str], None]


REPORT_SECONDS = 0.5
"""Often enough for a person who watches, seldom enough to cost nothing."""
RATE_REPORTS = 20
"""The rate is that of the last reports: ten seconds."""


@dataclass(slots=True)
class ProgressTracker:
    """Progress of one ask. `cached` of its `total` questions needed no call."""

    total: int
    cached: int
    on_progress: OnProgress | None = None
    stop_requested: StopRequested | None = None
    answered: int = 0
    failed: int = 0
    _history: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RATE_REPORTS))
    _reported: float = float("-inf")

    def done(self, *, failed: bool) -> None:
        """Count one question that was bought, or left."""
        if failed:
            self.failed += 1
        else:
            self.answered += 1

    def look(self, in_flight: int, spent_micro: int, *, last: bool = False) -> bool:
        """Report if it is time to; return whether a stop was requested."""
        now = time.monotonic()
        if self.on_progress is not None and (last or now - self._reported >= REPORT_SECONDS):
            self._reported = now
            self.on_progress(self._progress(now, in_flight, spent_micro))
        return self.stop_requested is not None and self.stop_requested()

    def _progress(self, now: float, in_flight: int, spent_micro: int) -> AskProgress:
        bought = self.answered + self.failed
        self._history.append((now, bought))
        since, before = self._history[0]
        return AskProgress(
            done=self.cached + bought,
            total=self.total,
            cached=self.cached,
            failed=self.failed,
            in_flight=in_flight,
            rate=(bought - before) / (now - since) if now > since else 0.0,
            spent_micro=spent_micro,
        )

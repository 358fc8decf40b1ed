"""Questions to a teacher and what comes of them. Pure values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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

"""What asking a set of questions will cost: a lower bound, an expectation, an upper bound. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from distillery.querying.answers import Question, Usage
from distillery.querying.pricing import Prices, prompt_token_bound, text_bytes, to_micro
from distillery.querying.settings import TeacherSettings

LEAST_TOKENS_PER_BYTE = 1 / 8
"""Below this no tokenizer gets on running text; only the lower bound relies on it."""
USUAL_TOKENS_PER_BYTE = 1 / 4
USUAL_OVERHEAD = 8
"""Tokens of the chat template around a short conversation."""
USUAL_LONGEST_ANSWER = 256
"""Expected tokens of a free answer, if maxTokens allows that many."""


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Cost of asking `questions`, of which `cached` are already paid. Amounts are micro-units (1e-6)."""

    questions: int = 0
    cached: int = 0
    lower_micro: int = 0
    """No bill is below this: the prompts alone, since answers may be empty."""
    expected_micro: int = 0
    upper_micro: int = 0
    """No bill is above this, as long as every call succeeds at once."""
    largest_micro: int = 0
    """The most that a single one of these calls can cost: with less than this left, it is not sent."""
    prompt_tokens: int = 0
    """Expected."""
    completion_tokens: int = 0
    """Expected."""


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Tokens of a usual call: prompt = `per_byte` × bytes + `overhead`, and `completion` for the answer."""

    per_byte: float
    overhead: float
    completion: float

    @classmethod
    def guess(cls, settings: TeacherSettings) -> TokenStats:
        """Return what to expect before anything was asked."""
        output, longest = settings.output, settings.parameters.max_tokens
        completion: float = min(longest, USUAL_LONGEST_ANSWER)
        if output.format == "label" and output.labels:
            mean = sum(map(text_bytes, output.labels)) / len(output.labels)
            completion = min(longest, math.ceil(mean * USUAL_TOKENS_PER_BYTE) + 1)
        return cls(USUAL_TOKENS_PER_BYTE, USUAL_OVERHEAD, completion)

    @classmethod
    def learn(cls, settings: TeacherSettings, seen: Iterable[tuple[int, Usage]]) -> TokenStats:
        """Return what to expect after calls of (prompt bytes, usage); a guess if there were none."""
        calls = [(size, usage) for size, usage in seen if usage.prompt > 0]
        if not calls:
            return cls.guess(settings)
        size = max(1, sum(size for size, _ in calls))
        prompt = sum(usage.prompt for _, usage in calls)
        return cls(prompt / size, 0.0, sum(usage.completion for _, usage in calls) / len(calls))


def prompt_bytes(question: Question) -> int:
    """Return the UTF-8 length of a question's texts."""
    return sum(text_bytes(message["content"]) for message in question.messages)


def estimate_cost(
    settings: TeacherSettings,
    questions: Iterable[Question],
    *,
    cached: int = 0,
    typical: TokenStats | None = None,
) -> CostEstimate:
    """CostEstimate what it costs to ask `questions`, none of which is in the answer cache.

    Args:
        settings: the teacher, for prices and parameters.
        questions: those still to be bought.
        cached: how many more are there for nothing; only reported.
        typical: tokens of a usual call as seen so far; None: a guess.
    """
    typical = typical or TokenStats.guess(settings)
    prices, longest = Prices.of(settings.pricing), settings.parameters.max_tokens
    count = least = expected = most = largest = 0
    for question in questions:
        size = prompt_bytes(question)
        count += 1
        least += int(size * LEAST_TOKENS_PER_BYTE)
        expected += math.ceil(size * typical.per_byte + typical.overhead)
        bound = prompt_token_bound(question.messages, settings.response_schema)
        most, largest = most + bound, max(largest, bound)
    completion = math.ceil(count * typical.completion)
    return CostEstimate(
        questions=count + cached,
        cached=cached,
        lower_micro=to_micro(least * min(prices.prompt, prices.cached)),
        expected_micro=to_micro(prices.bound(expected, completion)),
        upper_micro=to_micro(prices.bound(most, count * longest)),
        largest_micro=to_micro(prices.bound(largest, longest if count else 0)),
        prompt_tokens=expected,
        completion_tokens=completion,
    )

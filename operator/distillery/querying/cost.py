"""What calls cost, and what asking a set of questions will cost. Pure.

Costs are exact: integer picos (1e-12 of the currency), so that no sum is ever rounded. A price per million tokens
with up to six decimals is a whole number of picos per token; finer prices are rounded up. Amounts leave this package
in micros (1e-6), rounded up once. An estimate has three: a lower bound, an expectation, an upper bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from distillery.api.teacher_settings import TeacherSettings
from distillery.api.v1alpha1.teacher import Pricing
from distillery.artifacts.manifest import canonical_json
from distillery.querying.answers import Question, Usage

PICOS_PER_MICRO = 10**6
MESSAGE_OVERHEAD = 16
"""Tokens that a chat template puts around one message, at most."""
PROMPT_OVERHEAD = 64
"""Tokens that a chat template puts around the conversation, at most."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Picos per token. All zero where the job names no prices."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0

    @classmethod
    def of(cls, pricing: Pricing | None) -> Prices:
        """Convert decimal prices per million tokens."""
        if pricing is None:
            return cls()
        cached = pricing.cached_prompt_per_million
        return cls(
            prompt=_picos_per_token(pricing.prompt_per_million),
            cached=_picos_per_token(pricing.prompt_per_million if cached is None else cached),
            completion=_picos_per_token(pricing.completion_per_million),
        )

    def cost(self, usage: Usage) -> int:
        """Return what the provider charges for this usage, in picos."""
        cached = min(usage.cached, usage.prompt)
        return (
            (usage.prompt - cached) * self.prompt + cached * self.cached + usage.completion * self.completion
        )

    def bound(self, prompt_tokens: int, completion_tokens: int) -> int:
        """Return the most that so many tokens can cost, in picos, whatever the provider's cache does."""
        return prompt_tokens * max(self.prompt, self.cached) + completion_tokens * self.completion


def prompt_token_bound(messages: Sequence[Mapping[str, str]], schema: Mapping[str, object] | None) -> int:
    """Return a number of tokens that the prompt does not exceed.

    Every token of a byte-level tokenizer (BPE, or SentencePiece with byte fallback) covers at least one
    byte, hence the UTF-8 length bounds the text; the overheads cover the template. A response schema is
    billed as prompt by providers that show it to the model.
    """
    tokens = PROMPT_OVERHEAD
    for message in messages:
        tokens += MESSAGE_OVERHEAD + text_bytes(message["content"])
    return tokens + (len(canonical_json(dict(schema))) if schema is not None else 0)


def text_bytes(text: str) -> int:
    """Return the UTF-8 length of a text; lone surrogates, which UTF-8 lacks, count as three bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def to_micro(picos: int) -> int:
    """Return picos as micros, rounded up."""
    return -(-picos // PICOS_PER_MICRO)


def from_micro(micros: int) -> int:
    """Return micros as picos."""
    return micros * PICOS_PER_MICRO


def amount_picos(amount: Decimal) -> int:
    """Return an amount of money in picos, rounded down: a limit is never widened."""
    return int(amount.scaleb(12).to_integral_value("ROUND_FLOOR"))


def format_amount(micros: int, currency: str) -> str:
    """Return an amount for messages: `0.0123 USD`."""
    text = f"{Decimal(micros).scaleb(-6):f}"
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')} {currency}"


def _picos_per_token(per_million: Decimal) -> int:
    return int(per_million.scaleb(6).to_integral_value(ROUND_CEILING))


LEAST_TOKENS_PER_BYTE = 1 / 8
"""Below this no tokenizer gets on running text; only the lower bound relies on it."""
USUAL_TOKENS_PER_BYTE = 1 / 4
"""English text; until the pilot shows the truth, nothing is decided by it."""
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

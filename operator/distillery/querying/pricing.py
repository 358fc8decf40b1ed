"""What calls cost, exactly: integer picos (1e-12 of the currency), so that no sum is ever rounded. Pure.

A price per million tokens with up to six decimals is a whole number of picos per token; finer prices are
rounded up. Amounts leave this package in micros (1e-6), rounded up once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from distillery.api.v1alpha1.teacher import Pricing
from distillery.artifacts.manifest import canonical_json
from distillery.querying.answers import Usage

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

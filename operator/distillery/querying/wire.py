"""The shape of an OpenAI chat completion, as far as it is read. Providers differ: everything may be missing."""

from __future__ import annotations

from typing import Any

import msgspec


class TopLogprob(msgspec.Struct, gc=False):
    """An alternative token."""

    token: str
    logprob: float


class WireLogprob(msgspec.Struct):
    """A generated token with its alternatives."""

    token: str
    logprob: float
    top_logprobs: list[TopLogprob] | None = None


class WireLogprobs(msgspec.Struct):
    """Log-probabilities of the content tokens."""

    content: list[WireLogprob] | None = None


class WireMessage(msgspec.Struct):
    """The assistant's message; `content` is a string, null, or on some gateways a list of parts."""

    content: Any = None
    refusal: str | None = None


class WireChoice(msgspec.Struct):
    """One answer."""

    message: WireMessage
    finish_reason: str | None = None
    logprobs: WireLogprobs | None = None


class PromptDetails(msgspec.Struct):
    """How much of the prompt came from the provider's cache."""

    cached_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Billed tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class ChatCompletion(msgspec.Struct):
    """The reply."""

    choices: list[WireChoice] | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    usage: WireUsage | None = None


class ErrorBody(msgspec.Struct):
    """The reply to a call that failed; `error` is an object, a string, or missing."""

    error: Any = None

"""What a teacher's HTTP reply means: an answer, a failed try, a row that cannot be asked, or access denied. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec

from distillery.querying.answers import TokenLogprob, UnansweredReason, Usage

QUOTED = 300
"""Characters of a server's message that are repeated to the user."""
QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Codes that providers send with a 429 or a 403 when money is missing: no pause would help, so they are told apart."""
RETRIED = frozenset({408, 409, 425})
"""Client errors that are none of the client's making (timeout, conflict, too early): the same call may pass later."""
DENIED = frozenset({401, 402, 403, 404, 405, 407, 410})
"""What a wrong key, address or model gets, whatever the row."""
OF_ROWS = frozenset({403, 404, 410})
"""Those that firewalls and moderating gateways also answer to a single text."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A paid answer. `usage` is None if the teacher does not tell."""

    text: str
    finish_reason: str | None
    refusal: str | None
    usage: Usage | None
    model: str | None
    fingerprint: str | None
    logprobs: list[TokenLogprob] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A try that failed; another may succeed. `billed`: for nothing, for `usage`, or nobody knows."""

    reason: UnansweredReason
    message: str
    billed: Literal["no", "yes", "unknown"] = "no"
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class RateLimited:
    """Too fast; `wait` is the pause in seconds that the teacher asks for, None if it leaves that to us."""

    message: str
    wait: float | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """This row cannot be asked like this; asking again would not help. Not billed."""

    reason: UnansweredReason
    message: str


@dataclass(frozen=True, slots=True)
class AccessDenied:
    """The teacher turns all of us away: wrong key, no such model, no money left. `status` is the HTTP status.

    `of_row` says that it may be this row alone.
    """

    status: int
    message: str
    of_row: bool = False


CallFailure = Failed | RateLimited | Rejected | AccessDenied
Reply = Completed | CallFailure


def read_reply(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Reply:
    """Judge one HTTP reply. `headers` are looked up case-insensitively; `now` is the wall clock in seconds."""
    if 200 <= status < 300:
        return _read_success(body)
    message, code = _error_of(body)
    text = f"HTTP {status}" + (f": {message}" if message else "")
    if status == 429:
        if code in QUOTA_CODES:
            return AccessDenied(status, text)
        return RateLimited(text, _retry_after(headers, now))
    if status in RETRIED or status >= 500:
        return Failed("ServerError", text)
    if status in DENIED:
        return AccessDenied(status, text, status in OF_ROWS and code not in QUOTA_CODES)
    if 300 <= status < 400:
        location = headers.get("Location", "elsewhere")
        return AccessDenied(status, f"HTTP {status}: the address redirects to {location[:QUOTED]}")
    reason: UnansweredReason = "ContentFiltered" if code == "content_filter" else "RequestRejected"
    return Rejected(reason, text)


def _read_success(body: bytes) -> Reply:
    try:
        reply = msgspec.json.decode(body, type=ChatCompletion)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _read_unreadable(body)
    usage = _usage(reply.usage)
    if not reply.choices:
        message, code = _error_of(body)
        if code in QUOTA_CODES:
            return AccessDenied(200, message)
        if message and usage is None:
            return Failed("ServerError", f"HTTP 200 with an error: {message}")
        billed: Literal["yes", "unknown"] = "yes" if usage else "unknown"
        return Failed("NoChoices", "the reply holds no choices", billed, usage)
    choice = reply.choices[0]
    logprobs = choice.logprobs.content if choice.logprobs else None
    return Completed(
        text=_text(choice.message.content),
        finish_reason=choice.finish_reason,
        refusal=choice.message.refusal or None,
        usage=usage,
        model=reply.model,
        fingerprint=reply.system_fingerprint,
        logprobs=[_logprob(token) for token in logprobs] if logprobs else None,
    )


def _read_unreadable(body: bytes) -> Reply:
    """A 200 that is no chat completion: the work may have been done and billed."""
    shown = body[:80].decode("utf-8", "replace").strip()
    what = f"it begins with {shown!r}" if shown else "it is empty"
    return Failed("UnreadableReply", f"the reply is no chat completion: {what}", "unknown")


def _usage(wire: WireUsage | None) -> Usage | None:
    if wire is None:
        return None
    details = wire.prompt_tokens_details
    return Usage(
        prompt=max(0, wire.prompt_tokens or 0),
        cached=max(0, (details.cached_tokens or 0) if details else 0),
        completion=max(0, wire.completion_tokens or 0),
    )


def _text(content: Any) -> str:
    """Return the answer's text: a string, or the text parts of a list of parts joined; anything else is empty."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _logprob(wire: WireLogprob) -> TokenLogprob:
    """Six decimals are more than a float32 column keeps, and a third of the bytes in the journal."""
    top = [(token.token, round(token.logprob, 6)) for token in wire.top_logprobs or ()]
    return TokenLogprob(wire.token, round(wire.logprob, 6), top)


def _error_of(body: bytes) -> tuple[str, str | None]:
    """Return message and code of an error body of any shape."""
    try:
        error = msgspec.json.decode(body, type=ErrorBody).error
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body[:QUOTED].decode("utf-8", "replace").strip(), None
    if isinstance(error, dict):
        code = error.get("code") or error.get("type")
        return str(error.get("message") or "")[:QUOTED], str(code) if code is not None else None
    return (str(error)[:QUOTED] if error is not None else ""), None


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the pause asked for in seconds: `retry-after-ms`, else `Retry-After` as seconds or as a date."""
    try:
        if (value := headers.get("retry-after-ms")) is not None:
            return _sane(float(value) / 1000)
        if (value := headers.get("Retry-After")) is None:
            return None
        try:
            return _sane(float(value))
        except ValueError:
            return _sane(parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _sane(seconds: float) -> float | None:
    return max(0.0, seconds) if seconds < float("inf") else None


# The shape of an OpenAI chat completion, as far as it is read. Providers differ: everything may be missing.


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

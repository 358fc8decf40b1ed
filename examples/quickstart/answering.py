"""The teacher's side of the chat completions protocol: requests checked, judgements put into words and logprobs. Pure.

What a large model would do is imitated where it matters to a distillation: the answer has tokens with alternatives,
a ticket about nothing it knows is declined in words, and at a temperature above 0 answers are drawn.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zero_shot import Judgement

MODEL = "minilm-zero-shot"
REFUSAL = ["I'm", " sorry", ",", " but", " I", " can't", " help", " with", " this", " request", "."]
UNFAMILIAR = 0.28
"""Texts less similar than this to every description are declined."""
DECLINED = 0.98
"""Probability of the first word of a refusal; the labels share the rest."""
MAX_TOP_LOGPROBS = 20
OTHERS = -100.0
"""Log-probability of a word that is never said."""


class BadRequest(Exception):
    """What the caller has to change; becomes a 400."""


@dataclass(frozen=True, slots=True)
class Request:
    """A chat completion request, checked."""

    messages: list[dict[str, str]]
    max_tokens: int
    temperature: float
    seed: int | None
    top_logprobs: int | None
    """None if no logprobs are wanted."""

    @property
    def user(self) -> str:
        """The message that is classified."""
        return [message["content"] for message in self.messages if message["role"] == "user"][-1]


def parse_request(body: object) -> Request:
    """Check a request body. Raises: BadRequest."""
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    if body.get("model") != MODEL:
        raise BadRequest(f"the model {body.get('model')!r} does not exist: use {MODEL!r}")
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(map(_is_message, messages)):
        raise BadRequest("messages must be a list of objects with a role and a text content")
    if not any(message["role"] == "user" for message in messages):
        raise BadRequest("messages must hold a user message")
    if body.get("stream") or body.get("n", 1) != 1:
        raise BadRequest("stream and n > 1 are not supported")
    top = body.get("top_logprobs") or 0
    if not isinstance(top, int) or not 0 <= top <= MAX_TOP_LOGPROBS:
        raise BadRequest(f"top_logprobs must be a number from 0 to {MAX_TOP_LOGPROBS}")
    limit, temperature = body.get("max_tokens", 16), body.get("temperature", 0.0)
    if not isinstance(limit, int) or limit < 1:
        raise BadRequest("max_tokens must be a number of at least 1")
    if not isinstance(temperature, (int, float)) or not 0 <= temperature <= 2:
        raise BadRequest("temperature must be a number from 0 to 2")
    wanted = top if body.get("logprobs") else None
    return Request(messages, limit, float(temperature), body.get("seed"), wanted)


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
    )


def draw(weights: list[float], *material: object) -> int:
    """Return an index drawn with these weights; equal material draws alike."""
    digest = hashlib.sha256(repr(material).encode()).digest()
    point = int.from_bytes(digest[:8]) / 2**64 * math.fsum(weights)
    for index, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    return len(weights) - 1


class Speaker:
    """Turns judgements into answers."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        self._words = [_split(category) for category in categories]
        self._asked: Counter[str] = Counter()

    def answer(
        self, request: Request, judgement: Judgement
    ) -> tuple[list[str], list[list[tuple[str, float]]]]:
        """Return the tokens of the answer, and for each the words that could stand there with their logprobs."""
        log_probs = judgement.log_probs()
        if judgement.likeness < UNFAMILIAR:
            first = [(REFUSAL[0], math.log(DECLINED))]
            first += [
                (words[0], value + math.log1p(-DECLINED))
                for words, value in zip(self._words, log_probs, strict=True)
            ]
            return REFUSAL, [first, *([(word, 0.0), (self._words[0][0], OTHERS)] for word in REFUSAL[1:])]
        best = self._choose(request, log_probs)
        first = [(words[0], value) for words, value in zip(self._words, log_probs, strict=True)]
        rest = [[(word, 0.0), (self._words[0][0], OTHERS)] for word in self._words[best][1:]]
        return self._words[best], [first, *rest]

    def _choose(self, request: Request, log_probs: list[float]) -> int:
        """Return the likeliest category, or above temperature 0 one drawn by seed, or by how often it was asked."""
        if request.temperature == 0:
            return max(range(len(log_probs)), key=lambda index: (log_probs[index], -index))
        seed = request.seed
        if seed is None:
            seed = self._asked[request.user]
            self._asked[request.user] += 1
        weights = [math.exp(value / request.temperature) for value in log_probs]
        return draw(weights, request.user, request.temperature, seed)


def _split(category: str) -> list[str]:
    """Return the tokens of a category: its words, each but the first with the blank before it."""
    first, *others = category.split(" ")
    return [first, *(f" {word}" for word in others)]


def completion(
    request: Request, tokens: list[str], steps: list[list[tuple[str, float]]], prompt_tokens: int
) -> dict[str, Any]:
    """Return the reply in the protocol's shape, cut to max_tokens."""
    said = tokens[: request.max_tokens]
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(said)},
        "finish_reason": "stop" if len(said) == len(tokens) else "length",
        "logprobs": None,
    }
    if request.top_logprobs is not None:
        content = []
        for token, words in zip(said, steps, strict=False):
            likeliest = sorted(words, key=lambda word: -word[1])[: request.top_logprobs]
            listed = [{"token": word, "logprob": value} for word, value in likeliest]
            content.append({"token": token, "logprob": dict(words)[token], "top_logprobs": listed})
        choice["logprobs"] = {"content": content}
    digest = hashlib.sha256(repr((request, tokens)).encode()).hexdigest()
    return {
        "id": f"chatcmpl-{digest[:24]}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "system_fingerprint": "fp_minilm_1",
        "choices": [choice],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(said),
            "total_tokens": prompt_tokens + len(said),
        },
    }

"""A teacher for tests: a real HTTP server on loopback that speaks OpenAI's chat completions.

It answers by a keyword rule, with log-probabilities and usage, writes every answered call to a bill, and
misbehaves on request. In the test's own process::

    with FakeTeacher(faults=[Fault("500", times=2)]) as teacher:
        ...  # teacher.url, teacher.bill, teacher.counts

or as a process of its own, whose first line of output is its URL::

    python tests/fake_teacher.py --bill bill.jsonl --fault '{"kind": "429", "times": 3}'

Such a process answers 500 from SIGUSR1 to SIGUSR2.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

LABELS: dict[str, tuple[str, ...]] = {
    "billing": ("invoice", "charge", "payment"),
    "login": ("password", "login", "sign in"),
    "refund": ("refund", "money back", "return"),
}

FaultKind = Literal[
    "400",  # this request is not acceptable
    "401",  # wrong key; the message repeats the key, as some providers do
    "402",
    "403",
    "404",
    "408",
    "409",
    "422",
    "429",  # rate limit, with retry-after-ms
    "quota",  # 429 insufficient_quota
    "500",
    "503",
    "policy",  # 400 with code content_filter
    "redirect",
    "hang",  # never answers (billed: the provider does the work)
    "slow",  # answers after `seconds`
    "disconnect",  # closes the connection without an answer
    "garbage",  # 200 with bytes that are no JSON
    "html",  # 200 with a web page
    "error-body",  # 200 with {"error": …}
    "empty",  # 200 with an empty body
    "no-choices",  # 200, usage, no choices
    "null-content",  # an answer whose content is null
    "refusal",  # a refusal in its own field
    "length",  # truncated
    "content-filter",  # finish_reason content_filter
    "nonsense",  # an answer that is no label
    "no-usage",
    "no-logprobs",
    "other-model",  # answered by another model than asked for
]
BILLED = {"hang", "slow", "no-choices", "null-content", "refusal", "length", "content-filter", "nonsense"}
BILLED |= {"no-usage", "no-logprobs", "other-model"}


@dataclass
class Fault:
    """What goes wrong, how often and where.

    The first `after` matching calls are spared, the next `times` (None: all) fail; `match` is searched in
    the user message; `seconds` is the delay of `slow`, the retry-after of `429` or how long `hang` lasts.
    """

    kind: FaultKind
    times: int | None = None
    after: int = 0
    match: str | None = None
    seconds: float = 0.05
    seen: int = field(default=0, init=False)

    def hits(self, text: str) -> bool:
        if self.match is not None and self.match not in text:
            return False
        self.seen += 1
        return self.seen > self.after and (self.times is None or self.seen <= self.after + self.times)


def count_tokens(text: str) -> int:
    """Tokens as this teacher counts them: pieces of up to four characters."""
    return len(pieces(text))


def pieces(text: str) -> list[str]:
    """Split a text into the teacher's tokens: they join to the text."""
    return re.findall(r"\w{1,4}|\s+|[^\w\s]", text)


class FakeTeacher:
    """The server. `bill` lists every billed call as {row, model, sample, prompt, cached, completion}; `counts` counts
    requests by outcome (`answered`, fault kinds, `unauthorized`, `rate-limited`)."""

    def __init__(
        self,
        labels: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
        *,
        faults: Sequence[Fault] = (),
        delay: float = 0.0,
        bill_file: Path | None = None,
        api_key: str | None = None,
        requests_per_second: float | None = None,
        cached_share: float = 0.0,
        output: Literal["label", "json", "text"] = "label",
    ) -> None:
        if labels is None:
            labels = LABELS
        self.labels = dict(labels) if isinstance(labels, Mapping) else {label: (label,) for label in labels}
        self.faults = list(faults)
        self.delay = delay
        self.bill_file = bill_file
        self.api_key = api_key
        self.requests_per_second = requests_per_second
        self.cached_share = cached_share
        self.output = output
        self.bill: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.arrivals: list[float] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.url = ""
        self._asked: Counter[str] = Counter()
        self._bucket = 1.0
        self._bucket_at = time.monotonic()
        self._bill_fd: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None

    def __enter__(self) -> FakeTeacher:
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(0, lambda _: ready.set())), daemon=True
        )
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the fake teacher did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        if self._bill_fd is not None:
            os.close(self._bill_fd)
            self._bill_fd = None

    @property
    def cost_tokens(self) -> tuple[int, int]:
        """All prompt and completion tokens on the bill."""
        return sum(call["prompt"] for call in self.bill), sum(call["completion"] for call in self.bill)

    async def _serve(self, port: int, ready: Any, host: str = "127.0.0.1") -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        ready(self.url)
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "teacher", "object": "model"}]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        self.arrivals.append(time.monotonic())
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            return await self._respond(request)
        finally:
            self.in_flight -= 1

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.api_key is not None and key != self.api_key:
            self.counts["unauthorized"] += 1
            return _error(401, f"Incorrect API key provided: {key}.", "invalid_api_key")
        if (wait := self._over_limit()) > 0:
            self.counts["rate-limited"] += 1
            return _rate_limited(wait)
        body = await request.json()
        self.requests.append(body)
        text = next(m["content"] for m in reversed(body["messages"]) if m["role"] == "user")
        fault = next((fault for fault in self.faults if fault.hits(text)), None)
        if self.delay:
            await asyncio.sleep(self.delay)
        if fault is not None:
            self.counts[fault.kind] += 1
            return await self._misbehave(fault, request, body, text, key)
        self.counts["answered"] += 1
        return _raw(self.complete(body, text))

    def _over_limit(self) -> float:
        """Token bucket with 0.1 s of burst; returns the seconds until the next token, 0 if there is one."""
        if self.requests_per_second is None:
            return 0.0
        now, rate = time.monotonic(), self.requests_per_second
        self._bucket = min(max(1.0, rate * 0.1), self._bucket + (now - self._bucket_at) * rate)
        self._bucket_at = now
        if self._bucket < 1:
            return (1 - self._bucket) / rate
        self._bucket -= 1
        return 0.0

    async def _misbehave(
        self, fault: Fault, request: web.Request, body: dict[str, Any], text: str, key: str
    ) -> web.StreamResponse:
        answer = self.complete(body, text, fault.kind) if fault.kind in BILLED else None
        match fault.kind:
            case "429":
                return _rate_limited(fault.seconds)
            case "quota":
                return _error(429, "You exceeded your current quota.", "insufficient_quota")
            case "401":
                return _error(401, f"Incorrect API key provided: {key}.", "invalid_api_key")
            case "policy":
                return _error(400, "The request was blocked by the content policy.", "content_filter")
            case "redirect":
                return web.Response(status=301, headers={"Location": "https://elsewhere.invalid/v1"})
            case "hang" | "slow":
                await asyncio.sleep(3600 if fault.kind == "hang" else fault.seconds)
            case "disconnect":
                assert request.transport is not None
                request.transport.abort()
            case "garbage":
                return web.Response(body=b"\xff\xfe{not json")
            case "html":
                return web.Response(text="<html>Welcome</html>", content_type="text/html")
            case "error-body":
                return web.json_response({"error": {"message": "upstream broke", "code": "upstream"}})
            case "empty":
                return web.Response(body=b"")
            case code if code.isdigit():
                return _error(int(code), f"fault {code}", f"fault_{code}")
        return _raw(answer) if answer is not None else web.Response(status=500)

    def complete(self, body: dict[str, Any], text: str, fault: str | None = None) -> dict[str, Any]:
        """Return a chat completion for a request and put it on the bill."""
        probabilities = self.distribution(text)
        label = max(probabilities, key=lambda name: (probabilities[name], name))
        if body.get("temperature", 0) > 0:
            label = self._sample(text, probabilities)
        content = {"json": json.dumps({"label": label}), "text": f"This is about {label}."}.get(
            self.output, label
        )
        if fault == "nonsense":
            content = "I think it could be several things"
        tokens = pieces(content)
        limit = body.get("max_tokens") or len(tokens)
        finish = "length" if len(tokens) > limit or fault == "length" else "stop"
        tokens = tokens[: max(1, min(limit, len(tokens) - 1 if fault == "length" else limit))]
        message: dict[str, Any] = {"role": "assistant", "content": "".join(tokens), "refusal": None}
        if fault == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        if fault == "null-content":
            message["content"] = None
        if fault == "content-filter":
            finish = "content_filter"
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        if body.get("logprobs") and fault != "no-logprobs":
            choice["logprobs"] = {"content": self._logprobs(tokens, probabilities, body["top_logprobs"])}
        model = "another-model" if fault == "other-model" else body["model"]
        reply: dict[str, Any] = {"id": "cmpl", "object": "chat.completion", "created": 0, "model": model}
        reply["choices"] = [] if fault == "no-choices" else [choice]
        reply["system_fingerprint"] = "fp_fake"
        usage = self._charge(body, text, len(tokens))
        return reply if fault == "no-usage" else reply | {"usage": usage}

    def distribution(self, text: str) -> dict[str, float]:
        """Return P(label | text): the label whose keyword comes first is likely, how likely depends on the text."""
        lower = text.lower()
        found = [(lower.find(word), name) for name, words in self.labels.items() for word in words]
        hits = sorted((place, name) for place, name in found if place >= 0)
        digest = hashlib.sha256(text.encode()).digest()
        names = list(self.labels)
        best = hits[0][1] if hits else names[digest[0] % len(names)]
        sure = 0.6 + 0.39 * digest[1] / 255
        rest = (1 - sure) / max(1, len(names) - 1)
        return {name: sure if name == best else rest for name in names}

    def _sample(self, text: str, probabilities: dict[str, float]) -> str:
        """Draw a label; the draw depends on the text and how often it was asked."""
        self._asked[text] += 1
        digest = hashlib.sha256(f"{self._asked[text]}:{text}".encode()).digest()
        point = int.from_bytes(digest[:6], "big") / 2**48
        for name, probability in probabilities.items():
            point -= probability
            if point < 0:
                return name
        return next(iter(probabilities))

    def _logprobs(self, tokens: list[str], probabilities: dict[str, float], top: int) -> list[dict[str, Any]]:
        first: dict[str, float] = {}
        for name, probability in probabilities.items():
            first[pieces(name)[0]] = first.get(pieces(name)[0], 0.0) + probability
        entries = []
        for position, token in enumerate(tokens):
            known = first if position == 0 and token in first else {token: 0.9999}
            ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))
            alternatives = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in ranked[:top]]
            entries.append(
                {
                    "token": token,
                    "logprob": math.log(known[token]),
                    "bytes": None,
                    "top_logprobs": alternatives,
                }
            )
        return entries

    def _charge(self, body: dict[str, Any], text: str, completion: int) -> dict[str, Any]:
        prompt = 3 + sum(4 + count_tokens(message["content"]) for message in body["messages"])
        cached = int(prompt * self.cached_share)
        call = {"row": text, "model": body["model"], "temperature": body.get("temperature", 0)}
        call |= {"prompt": prompt, "cached": cached, "completion": completion}
        self.bill.append(call)
        if self.bill_file is not None:
            if self._bill_fd is None:
                self._bill_fd = os.open(self.bill_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.write(self._bill_fd, json.dumps(call).encode() + b"\n")
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def read_bill(path: Path) -> list[dict[str, Any]]:
    """Return the calls that a teacher in another process has billed so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _raw(reply: dict[str, Any]) -> web.Response:
    return web.Response(body=json.dumps(reply).encode(), content_type="application/json")


def _error(status: int, message: str, code: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "code": code}
    return web.json_response({"error": error}, status=status)


def _rate_limited(seconds: float) -> web.Response:
    response = _error(429, "Rate limit reached for requests.", "rate_limit_exceeded")
    response.headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
    return response


def main() -> None:
    """Serve until killed; the first line of output is the URL."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bill", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--labels", help="comma-separated; a label is its own keyword")
    parser.add_argument("--api-key")
    parser.add_argument("--output", choices=["label", "json", "text"], default="label")
    parser.add_argument("--requests-per-second", type=float)
    parser.add_argument(
        "--fault", action="append", default=[], help='JSON, for example {"kind": "500", "times": 3}'
    )
    args = parser.parse_args()
    teacher = FakeTeacher(
        args.labels.split(",") if args.labels else None,
        faults=[Fault(**json.loads(fault)) for fault in args.fault],
        delay=args.delay,
        bill_file=args.bill,
        api_key=args.api_key,
        requests_per_second=args.requests_per_second,
        output=args.output,
    )

    outage = Fault("500")

    def ready(url: str) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: teacher.faults.append(outage))
        loop.add_signal_handler(signal.SIGUSR2, lambda: teacher.faults.remove(outage))
        print(url, flush=True)

    try:
        asyncio.run(teacher._serve(args.port, ready, args.host))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

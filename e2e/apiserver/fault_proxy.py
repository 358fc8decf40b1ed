"""A proxy before a real API server that breaks what one client does: calls, watches and lists, at chosen moments.

Plain HTTP on loopback towards the client, TLS with the administrator's certificate towards the API server. A plan of
faults belongs to one namespace, so that many jobs, each with its fault at another moment, share one run. What is
about no namespace (leases of the operator, lists of the whole cluster) passes, unless `stale_lists` is set.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
NAMESPACE = re.compile(r"/namespaces/([^/?]+)/")
EVENT_PLACE = re.compile(rb'"namespace":"([^"]+)"')
"""In an event the namespace of the object comes before any other: cheaper than to parse it."""
CHANGES = (b'{"type":"ADDED"', b'{"type":"MODIFIED"', b'{"type":"DELETED"')
HOP_HEADERS = frozenset({"host", "connection", "transfer-encoding", "content-length", "accept-encoding"})
HOLD_SECONDS = 1.0
"""An event that is told too late comes after the next one, or after this long if there is none."""

CALL_FAULTS = ("cut before", "cut after", "conflict", "busy", "broken", "broken after", "hang after")
WATCH_FAULTS = ("drop", "duplicate", "reorder", "cut watch")
LIST_FAULTS = ("stale list",)
KILLS = ("kill before", "kill after")

ANSWERS = {
    "conflict": (
        409,
        "Conflict",
        "the object has been modified; please apply your changes to the latest version",
    ),
    "exists": (409, "AlreadyExists", "it exists already"),
    "busy": (429, "TooManyRequests", "too many requests, please try again later"),
    "broken": (500, "InternalError", "an error on the server has prevented the request from succeeding"),
}


@dataclass
class Plan:
    """What happens to the calls about one namespace. Calls and events are counted from 1.

    `kind` is one of the faults; it strikes at `nth`, and again every `every` calls or events if that is not 0.
    """

    kind: str = ""
    nth: int = 0
    every: int = 0
    calls: list[str] = field(default_factory=list)
    """The mutating calls so far: method, plural and name."""
    events: int = 0
    lists: int = 0
    struck: int = 0

    @property
    def missed(self) -> bool:
        """Whether the fault was due and has not struck: the job may have ended before."""
        seen = (
            self.lists
            if self.kind in LIST_FAULTS
            else self.events
            if self.kind in WATCH_FAULTS
            else len(self.calls)
        )
        return self.struck == 0 and 0 < self.nth <= seen

    def strikes(self, number: int) -> bool:
        """Say whether the fault is due at a call or event, and count it."""
        due = number == self.nth or bool(
            self.every and number > self.nth and (number - self.nth) % self.every == 0
        )
        self.struck += due
        return due


@dataclass
class FaultProxy:
    """The proxy. `kill` is called for the faults that end the client's process."""

    server: str
    tls: ssl.SSLContext
    plans: dict[str, Plan] = field(default_factory=lambda: defaultdict(Plan))
    kill: Callable[[], None] = lambda: None
    url: str = ""
    stale_lists: bool = False
    """Answer every second list of the whole cluster with the answer to the one before."""
    _session: aiohttp.ClientSession = field(init=False)
    _answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    _wide: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @classmethod
    @asynccontextmanager
    async def before(cls, kubeconfig: Path) -> AsyncIterator[FaultProxy]:
        """Serve on a free port of loopback until the block ends."""
        server, tls = read_kubeconfig(kubeconfig)
        proxy = cls(server, tls)
        app = web.Application(client_max_size=16 << 20)
        app.router.add_route("*", "/{path:.*}", proxy._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as proxy._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
                yield proxy
            finally:
                await runner.cleanup()

    def write_kubeconfig(self, path: Path, namespace: str) -> Path:
        """Write what the client connects with."""
        cluster = {"name": "proxy", "cluster": {"server": self.url}}
        context = {"cluster": "proxy", "user": "operator", "namespace": namespace}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "users": [{"name": "operator", "user": {"token": "the-proxy-has-the-rights"}}],
            "contexts": [{"name": "proxy", "context": context}],
            "current-context": "proxy",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.method in MUTATING:
            return await self._mutate(request)
        if request.query.get("watch") in ("true", "1"):
            return await self._watch(request)
        return await self._read(request)

    async def _mutate(self, request: web.Request) -> web.StreamResponse:
        plan = self._plan(request)
        if plan is None:
            return _answer(*await self._forward(request))
        plan.calls.append(_described(request))
        if plan.kind not in CALL_FAULTS + KILLS or not plan.strikes(len(plan.calls)):
            return _answer(*await self._forward(request))
        fault = plan.kind
        if fault == "conflict" and request.method == "POST":
            fault = "exists"  # what is created again after a lost answer meets this
        if fault in ANSWERS:
            return _refusal(*ANSWERS[fault])
        if fault == "kill before":
            self.kill()
        if fault.endswith("after"):
            await self._forward(request)
        match fault:
            case "kill after":
                self.kill()
            case "broken after":
                return _refusal(*ANSWERS["broken"])
            case "hang after":
                await asyncio.sleep(3600)  # ends when the client gives up
        return _cut(request)

    async def _read(self, request: web.Request) -> web.StreamResponse:
        key = f"{request.path_qs} {request.headers.get('Accept', '')}"
        plan = self._plan(request)
        stale = False
        if _lists(request) and plan is not None and plan.kind == "stale list":
            plan.lists += 1
            stale = key in self._answers and plan.strikes(plan.lists)
        elif _lists(request) and plan is None and self.stale_lists:
            self._wide[key] += 1
            stale = key in self._answers and self._wide[key] % 2 == 0
        if stale:
            status, body = self._answers[key]
            return _answer(status, CIMultiDict({"Content-Type": "application/json"}), body)
        status, headers, body = await self._forward(request)
        if _lists(request) and status == 200 and (plan is not None or self.stale_lists):
            self._answers[key] = status, body
        return _answer(status, headers, body)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        async with self._session.get(
            f"{self.server}{request.path_qs}",
            headers=_headers(request),
            skip_auto_headers=["Accept-Encoding"],
        ) as upstream:
            if upstream.status != 200:
                return _answer(upstream.status, upstream.headers, await upstream.read())
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            held = _Held(response)
            try:
                async for line in _lines(upstream.content):
                    if not await self._pass_on(line, held):
                        return _cut(request)
            except ConnectionResetError:
                pass  # the client has gone
            finally:
                held.close()
            return response

    async def _pass_on(self, line: bytes, held: _Held) -> bool:
        """Pass one line of a watch on, or not, or twice, or later. Returns: False to cut the connection."""
        plan = self._plan_of_event(line)
        strikes = False
        if plan is not None:
            plan.events += 1
            strikes = plan.kind in WATCH_FAULTS and plan.strikes(plan.events)
        if not strikes or plan is None:
            await held.write(line)
            return True
        match plan.kind:
            case "duplicate":
                await held.write(line + line)
            case "reorder":
                held.hold(line)
            case "cut watch":
                return False
        return True

    async def _forward(self, request: web.Request) -> tuple[int, CIMultiDict[str], bytes]:
        body = await request.read()
        async with self._session.request(
            request.method,
            f"{self.server}{request.path_qs}",
            data=body or None,
            headers=_headers(request),
            skip_auto_headers=["Accept-Encoding"],
        ) as upstream:
            return upstream.status, CIMultiDict(upstream.headers), await upstream.read()

    def _plan(self, request: web.Request) -> Plan | None:
        found = NAMESPACE.search(request.path)
        return self.plans.get(found[1]) if found else None

    def _plan_of_event(self, line: bytes) -> Plan | None:
        """Return the plan of the namespace that an event is about. Bookmarks and errors are about none."""
        place = EVENT_PLACE.search(line)
        if place is None or not line.startswith(CHANGES):
            return None
        return self.plans.get(place[1].decode())


class _Held:
    """Writes lines, and those that are held back after the next one or a while later."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response
        self._line = b""
        self._later: asyncio.Task[None] | None = None

    async def write(self, line: bytes) -> None:
        held, self._line = self._line, b""
        await self._response.write(line + held)

    def hold(self, line: bytes) -> None:
        self._line += line
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._release())

    def close(self) -> None:
        if self._later is not None:
            self._later.cancel()

    async def _release(self) -> None:
        await asyncio.sleep(HOLD_SECONDS)
        if self._line:
            await self.write(b"")


def read_kubeconfig(path: Path) -> tuple[str, ssl.SSLContext]:
    """Return the URL of the API server and a TLS context with the client certificate of the current context."""
    config = yaml.safe_load(path.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = _pem(cluster, "certificate-authority")
    tls = ssl.create_default_context(cadata=authority.decode())
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder) / "client.pem"
        chain.touch(0o600)
        chain.write_bytes(_pem(user, "client-certificate") + b"\n" + _pem(user, "client-key"))
        tls.load_cert_chain(chain)
    return cluster["server"], tls


def _pem(section: dict[str, Any], name: str) -> bytes:
    data = section.get(f"{name}-data")
    return base64.b64decode(data) if data else Path(section[name]).read_bytes()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield whole lines with their ends."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"


def _headers(request: web.Request) -> dict[str, str]:
    dropped = HOP_HEADERS | {"authorization"}
    return {name: value for name, value in request.headers.items() if name.lower() not in dropped}


def _lists(request: web.Request) -> bool:
    return "limit" in request.query or "resourceVersion" in request.query


def _described(request: web.Request) -> str:
    parts = request.path.split("/namespaces/")[-1].split("/")[1:]
    return f"{request.method} {'/'.join(parts)}"


def _answer(status: int, headers: Any, body: bytes) -> web.Response:
    kept = {name: headers[name] for name in ("Content-Type", "Retry-After", "Warning") if name in headers}
    return web.Response(status=status, headers=kept, body=body)


def _refusal(code: int, reason: str, message: str) -> web.Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
        "details": {"name": "object"},
    }
    headers = {"Content-Type": "application/json"} | ({"Retry-After": "1"} if code == 429 else {})
    return web.Response(status=code, headers=headers, body=json.dumps(status).encode())


def _cut(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)

"""A small HTTP server that answers as a script says, in the API server's form, and keeps what it was asked."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from distillery.kube.client import Kube

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Script:
    """Answers one after the other; the last one is repeated."""

    def __init__(self, *answers: Handler) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.query), await request.read()))
        self.headers.append(dict(request.headers))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return await answer(request)


def says(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Handler:
    """Answer with JSON, or with text if the body is a string."""

    async def answer(_request: web.Request) -> web.Response:
        if isinstance(body, str):
            return web.Response(text=body, status=status, headers=headers)
        return web.json_response(body, status=status, headers=headers)

    return answer


def refusal(code: int, reason: str, message: str, name: str | None = None) -> Handler:
    """Answer with a Status document."""
    details = {"name": name, "kind": "configmaps"} if name else {}
    return says(
        {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}, code
    )


def streams(*lines: object, broken: bytes = b"") -> Handler:
    """Answer with one JSON document a line and then, maybe, a piece of one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(json.dumps(line).encode() + b"\n")
        if broken:
            await response.write(broken)
        await response.write_eof()
        return response

    return answer


@asynccontextmanager
async def connected(script: Script, folder: Path, calls: list | None = None) -> AsyncIterator[Kube]:
    """Serve the script on loopback and connect to it with a kubeconfig."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", script.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(json.dumps(kubeconfig_for(f"http://{host}:{port}")))

    def on_call(verb: str, plural: str, status: int | None, seconds: float) -> None:
        assert seconds >= 0
        if calls is not None:
            calls.append((verb, plural, status))

    try:
        async with Kube.connect(str(kubeconfig), on_call=on_call) as kube:
            yield kube
    finally:
        await runner.cleanup()


def kubeconfig_for(server: str) -> dict:
    """Return a kubeconfig with one context whose namespace is team-a."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "token-of-the-test"}}],
    }

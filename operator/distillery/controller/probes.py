"""The probe server: /healthz, /readyz, /metrics. It starts before the Lease: a standby is live and ready."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""


class Health:
    """What the probes report. The checks count for the leader only: a standby has nothing that can grow stale."""

    def __init__(self) -> None:
        self.leading = False
        self.ready = False
        """False before the cluster was reached and from the beginning of the shutdown."""
        self._checks: dict[str, Check] = {}

    def add_check(self, name: str, check: Check) -> None:
        """Add a check that the leader must pass to be live."""
        self._checks[name] = check

    def complaints(self) -> list[str]:
        """Return what is wrong."""
        if not self.leading:
            return []
        found = [(name, check()) for name, check in self._checks.items()]
        return [f"{name}: {complaint}" for name, complaint in found if complaint is not None]


def older_than(limit: float, seconds: Callable[[], float], what: str) -> Check:
    """Return a check that fails while something takes longer than `limit` seconds."""

    def check() -> str | None:
        age = seconds()
        return f"{what} for {age:.0f} s" if age > limit else None

    return check


@asynccontextmanager
async def probe_server(
    health: Health, metrics: Callable[[], bytes], host: str, port: int
) -> AsyncIterator[int]:
    """Serve the probes on a port (0: any free one) and give its number."""
    app = web.Application()
    answers = _Answers(health, metrics)
    app.router.add_get("/healthz", answers.healthz)
    app.router.add_get("/readyz", answers.readyz)
    app.router.add_get("/metrics", answers.metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class _Answers:
    """The three answers."""

    def __init__(self, health: Health, metrics: Callable[[], bytes]) -> None:
        self._health = health
        self._metrics = metrics

    async def healthz(self, _request: web.Request) -> web.Response:
        """Answer 500 and what is wrong, or ok."""
        complaints = self._health.complaints()
        return web.Response(status=500 if complaints else 200, text="\n".join(complaints) or "ok")

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer ok between start and shutdown."""
        ready = self._health.ready
        return web.Response(status=200 if ready else 503, text="ok" if ready else "not ready")

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer with the metrics."""
        return web.Response(body=self._metrics(), content_type="text/plain", charset="utf-8")

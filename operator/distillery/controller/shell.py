"""The operator's process: probes → Lease → watches → lists → queue, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from distillery.controller.cache import Cache, JobKey
from distillery.controller.election import LEASE_SECONDS, Election
from distillery.controller.events import Events
from distillery.controller.handlers import Handlers, watch
from distillery.controller.probes import Health, older_than, probe_server
from distillery.controller.queue import LONGEST_WORK, WorkQueue
from distillery.controller.sweep import SWEEP_SECONDS, Sweeper
from distillery.controller.telemetry import Metrics
from distillery.kube.client import Kube
from distillery.logs import about

log = logging.getLogger(__name__)

LEASE_NAME = "distillery"
DRAIN_SECONDS = 10.0
"""How long looks at jobs may go on after a stop was asked for."""
STOP_SECONDS = 5.0


class Reconciles(Protocol):
    """What brings jobs forward."""

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Look at a job once. Returns: seconds after which it wants to be looked at again, or None."""

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a job that is gone."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a reconciler is built from."""

    kube: Kube
    cache: Cache
    metrics: Metrics
    events: Events


@dataclass(frozen=True, slots=True)
class Where:
    """How the process is run. `namespaces` are those looked after; none: all. `namespace` holds the Lease."""

    pod_name: str
    namespace: str | None
    namespaces: tuple[str, ...]
    host: str
    port: int
    kubeconfig: str | None = None


class Shell:
    """Runs the operator until a signal or a loss."""

    def __init__(
        self, where: Where, build: Callable[[Parts], Reconciles], clock: Callable[[], float]
    ) -> None:
        self._where = where
        self._build = build
        self._clock = clock
        self._metrics = Metrics()
        self._health = Health()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._health.ready = False
        self._stop.set()

    async def run(self) -> int:
        """Return the exit status: 0 after a signal, 1 after the loss of the Lease or of a task."""
        self._catch_signals()
        self._metrics.lead(False)
        where = self._where
        async with AsyncExitStack() as stack:
            serving = probe_server(self._health, self._metrics.text, where.host, where.port)
            port = await stack.enter_async_context(serving)
            connecting = Kube.connect(where.kubeconfig, on_call=self._metrics.api_call)
            kube = await stack.enter_async_context(connecting)
            self._health.ready = not self._stop.is_set()
            log.info("serving probes on port %d", port)
            identity = f"{where.pod_name}_{uuid.uuid4().hex[:8]}"
            election = Election(kube, where.namespace or kube.namespace, LEASE_NAME, identity)
            if not await self._before_stop(election.acquire()):
                return 0
            return await self._lead(kube, election)

    async def _lead(self, kube: Kube, election: Election) -> int:
        self._metrics.lead(True)
        cache = Cache()
        events = Events(kube, self._where.pod_name, self._clock)
        reconciler = self._build(Parts(kube, cache, self._metrics, events))

        async def look(key: JobKey) -> float | None:
            with about(namespace=key[0], job=key[1]):
                return await self._metrics.measure(reconciler.reconcile(*key))

        queue = WorkQueue(look, on_done=self._metrics.reconciled)
        handlers = Handlers(cache, queue, reconciler.forget)
        sweeper = Sweeper(kube, cache, queue, handlers, self._where.namespaces)
        self._metrics.follow_queue(queue.depth, queue.oldest_age)
        self._guard(queue, election, sweeper)
        stop_kopf, filled = asyncio.Event(), asyncio.Event()
        work = {
            "the Lease": asyncio.create_task(election.hold()),
            "the watches": asyncio.create_task(self._watch(handlers, stop_kopf)),
            "the queue": asyncio.create_task(_work(sweeper, queue, filled)),
        }
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({*work.values(), stopping}, return_when=asyncio.FIRST_COMPLETED)
        orderly = stopping.done()
        self._health.ready = self._health.leading = False
        if orderly:
            log.info("stopping")
            queue.close()
            await asyncio.wait({work["the queue"]}, timeout=DRAIN_SECONDS if filled.is_set() else 0)
        else:
            _tell_end(work)
        stop_kopf.set()
        if orderly:
            await asyncio.wait({work["the watches"]}, timeout=STOP_SECONDS)
        await _end(list(work.values()))
        stopping.cancel()
        self._metrics.lead(False)
        await election.release()
        return 0 if orderly else 1

    def _guard(self, queue: WorkQueue[JobKey], election: Election, sweeper: Sweeper) -> None:
        health = self._health
        loop_limit, lease_limit = 2 * LONGEST_WORK, 2.0 * LEASE_SECONDS
        health.add_check("queue", older_than(loop_limit, queue.idle, "nothing was begun"))
        health.add_check("lease", older_than(lease_limit, election.age, "not renewed"))
        health.add_check("lists", older_than(4 * SWEEP_SECONDS, sweeper.age, "none succeeded"))
        health.leading = True

    async def _watch(self, handlers: Handlers, stop: asyncio.Event) -> None:
        ready = asyncio.Event()
        where = self._where
        watching = watch(handlers, where.namespaces, where.kubeconfig, stop_flag=stop, ready_flag=ready)
        kopf = asyncio.create_task(watching)
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({kopf, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        self._catch_signals()  # Kopf has taken them
        await kopf

    async def _before_stop(self, work: Any) -> bool:
        """Await something; return False if a stop was asked for before it ended."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if self._stop.is_set():
            task.cancel()
            return False
        await task
        return True

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)


async def _work(sweeper: Sweeper, queue: WorkQueue[JobKey], filled: asyncio.Event) -> None:
    """Fill the cache, then work and sweep until the queue is closed."""
    await sweeper.first()
    filled.set()
    sweeping = asyncio.create_task(sweeper.run())
    working = asyncio.create_task(queue.run())
    try:
        done, _ = await asyncio.wait({sweeping, working}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end([sweeping, working])


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and leave them if they do not end soon."""
    pending = {task for task in tasks if not task.done()}
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=STOP_SECONDS)


def _tell_end(work: dict[str, asyncio.Task[Any]]) -> None:
    for name, task in work.items():
        if task.done() and not task.cancelled():
            error = task.exception()
            log.error("%s ended: %s", name, error or "without a reason", exc_info=error)

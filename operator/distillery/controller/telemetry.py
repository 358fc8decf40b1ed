"""Prometheus metrics of the operator, in a registry of their own. No label holds a job's name: series stay few."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

T = TypeVar("T")

STAGE_BUCKETS = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400, 259200)
RECONCILE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CPU_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 1)
MOST_REASONS = 64
CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)


class Metrics:
    """All that the operator counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reasons: set[str] = set()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self._stage = Histogram(
            "distillery_stage_seconds",
            "Duration of ended stage attempts",
            ["stage", "outcome"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self._attempts = Counter(
            "distillery_attempts",
            "Ended stage attempts by what ended them",
            ["stage", "reason"],
            registry=registry,
        )
        self._cost = Counter("distillery_cost", "Money spent on teachers", ["currency"], registry=registry)
        self._reconcile = Histogram(
            "distillery_reconcile_seconds",
            "Wall time of one look at a job",
            buckets=RECONCILE_BUCKETS,
            registry=registry,
        )
        self._cpu = Histogram(
            "distillery_reconcile_cpu_seconds",
            "CPU time of one look at a job",
            buckets=CPU_BUCKETS,
            registry=registry,
        )
        self._outcomes = Counter(
            "distillery_reconciles", "Looks at jobs by how they ended", ["outcome"], registry=registry
        )
        self._calls = Counter(
            "distillery_api_calls",
            "Requests to the Kubernetes API; code 0: no answer",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._call_seconds = Histogram(
            "distillery_api_call_seconds",
            "Time until the Kubernetes API answered",
            ["verb"],
            buckets=CALL_BUCKETS,
            registry=registry,
        )
        self._leader = Gauge("distillery_leader", "1 if this process holds the Lease", registry=registry)
        self._depth = Gauge("distillery_queue_depth", "Jobs that wait for a look", registry=registry)
        self._oldest = Gauge(
            "distillery_queue_oldest_seconds", "How long the first of them has waited", registry=registry
        )

    def stage_ended(self, stage: str, outcome: str, seconds: float) -> None:
        """Count an ended attempt's duration. Args: `outcome` is Succeeded, Reused, Failed or Stopped."""
        self._stage.labels(stage, outcome).observe(max(0.0, seconds))

    def attempt_ended(self, stage: str, reason: str) -> None:
        """Count an ended attempt by a CamelCase reason; beyond MOST_REASONS, which workers may invent, as Other."""
        if len(self._reasons) < MOST_REASONS:
            self._reasons.add(reason)
        self._attempts.labels(stage, reason if reason in self._reasons else "Other").inc()

    def spent(self, currency: str, amount: float) -> None:
        """Count money; what is less than nothing is left out."""
        if amount > 0:
            self._cost.labels(currency).inc(amount)

    def reconciled(self, outcome: str) -> None:
        """Count a look at a job by how it ended."""
        self._outcomes.labels(outcome).inc()

    def api_call(self, verb: str, resource: str, status: int | None, seconds: float) -> None:
        """Count a request to the Kubernetes API; the signature is that of kube's `on_call`."""
        self._calls.labels(verb, resource, str(status or 0)).inc()
        self._call_seconds.labels(verb).observe(seconds)

    def lead(self, leading: bool) -> None:
        """Say whether this process holds the Lease."""
        self._leader.set(1 if leading else 0)

    def follow_queue(self, depth: Callable[[], float], oldest: Callable[[], float]) -> None:
        """Read the queue's figures whenever the metrics are asked for."""
        self._depth.set_function(depth)
        self._oldest.set_function(oldest)

    async def measure(self, work: Awaitable[T]) -> T:
        """Await one look at a job and count its wall and CPU time, also if it fails."""
        metered = _Metered(work)
        started = time.perf_counter()
        try:
            return await metered
        finally:
            self._reconcile.observe(time.perf_counter() - started)
            self._cpu.observe(metered.seconds)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _Metered(Generic[T]):
    """Awaits something and adds up the CPU time of the thread while it runs, without that of others in between."""

    def __init__(self, work: Awaitable[T]) -> None:
        self._work = work
        self.seconds = 0.0

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work.__await__()
        step: Callable[[], Any] = steps.__next__
        while True:
            started = time.thread_time()
            try:
                waited_for = step()
            except StopIteration as stop:
                result: T = stop.value
                return result
            finally:
                self.seconds += time.thread_time() - started
            step = yield from self._wait(steps, waited_for)

    @staticmethod
    def _wait(steps: Generator[Any, Any, T], waited_for: Any) -> Generator[Any, Any, Callable[[], Any]]:
        """Hand what is waited for to the event loop; return how the work goes on."""
        try:
            sent = yield waited_for
        except BaseException as error:  # noqa: BLE001  cancellation belongs to the work, not to the meter
            thrown = error
            return lambda: steps.throw(thrown)
        return lambda: steps.send(sent)

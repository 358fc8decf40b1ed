"""What the operator costs: many jobs at once to their end, then many finished jobs at rest.

    python bench/operator.py [--jobs 1000] [--idle 5000] [--idle-seconds 60] [--dir DIR]

Real: kube-apiserver, etcd, the operator's process and every object it writes. Simulated: KubeRay and the workers, in
this process; each stage ends within a second. At rest, the objects of finished jobs beyond those that have run are
copies of theirs. Exits with 1 if a limit is not kept. Limits are on CPU time, memory and counts, not on wall time.
"""

from __future__ import annotations

import sys

# This folder goes, in which this file would stand for the standard library's module of the same name.
sys.path.pop(0)

from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path[:0] = [str(REPOSITORY / "operator"), str(REPOSITORY / "tests")]

import argparse  # noqa: E402
import asyncio  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable  # noqa: E402
from contextlib import asynccontextmanager  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from typing import Any  # noqa: E402

import aiohttp  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from controller_world import MANIFEST, ended  # noqa: E402
from distillery.api.v1alpha1.status import Status  # noqa: E402
from distillery.api.yaml import load_yaml  # noqa: E402
from distillery.controller.intake import ref_of  # noqa: E402
from distillery.errors import DistilleryError  # noqa: E402
from distillery.kube.client import Kube  # noqa: E402
from distillery.kube.resources import (  # noqa: E402
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    NAMESPACES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    Resource,
)
from distillery.manifests.metadata import JOB_UID_LABEL, STAGE_LABEL  # noqa: E402
from distillery.manifests.names import account_name, attempt_name  # noqa: E402
from distillery.planning.record import JobRef, parse_record  # noqa: E402
from kube.apiserver import ApiServer, install_crds  # noqa: E402
from simulated_kuberay import SimulatedCluster  # noqa: E402

HOME = "distillery-system"
PLACES = 10
"""Namespaces over which the jobs are spread."""
AT_ONCE = 16
"""Requests that this process sends at once while it makes objects."""
GIVE_UP_SECONDS = 600.0
"""A run in which the operator looks at no job for so long is given up: jobs go side by side and end together."""
PROBE_SECONDS = 2.0

MOST_MEMORY = 200.0
MOST_CPU = 0.050
MOST_WRITES = 40.0
MOST_IDLE = 0.02
RESYNC_SECONDS = 3600.0
"""How often the operator looks at a job at rest."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Row:
    """One line of the table. `limit` is what the value must not exceed."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def kept(self) -> bool:
        return self.limit is None or self.value <= self.limit

    def __str__(self) -> str:
        limit = "" if self.limit is None else f"≤ {self.limit:g}"
        return f"{self.name:<52} {self.value:>12.3f} {self.unit:<12} {limit:<10} {'' if self.kept else 'EXCEEDED'}"


@dataclass
class Operator:
    """The operator's process and what it says of itself."""

    kubeconfig: Path
    log: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "POD_NAMESPACE": HOME,
            "DISTILLERY_PORT": str(self.port),
            "DISTILLERY_WORKER_IMAGE": "distillery/worker:bench",
            "PYTHONPATH": str(REPOSITORY / "operator"),
        }
        command = [sys.executable, "-m", "distillery.controller"]
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)

    def stop(self) -> None:
        """End it in order, so that the Lease is free."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def memory(self, what: str = "VmRSS") -> float:
        """Return resident memory in MB; `VmHWM` is the most there ever was."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(what))

    def cpu(self) -> float:
        """Return the seconds of CPU used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def samples(self) -> Samples:
        """Return the metrics, or nothing while it does not answer."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the operator has ended: see {self.log}")
        try:
            url = f"http://127.0.0.1:{self.port}/metrics"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                text = await answer.text()
        except aiohttp.ClientError:
            return {}
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


def chosen(samples: Samples, name: str, **labels: str | tuple[str, ...]) -> float:
    """Return the sum of the samples of a name whose labels are among those given."""
    return sum(
        value
        for (found, pairs), value in samples.items()
        if found == name and all(dict(pairs)[key] in wanted for key, wanted in labels.items())
    )


def quantile(samples: Samples, name: str, share: float) -> float:
    """Return a quantile of a histogram, interpolated within its bucket as Prometheus does."""
    buckets = sorted(
        (float(dict(pairs)["le"]), value)
        for (found, pairs), value in samples.items()
        if found == f"{name}_bucket"
    )
    rank, below, before = share * buckets[-1][1], 0.0, 0.0
    for edge, count in buckets:
        if count >= rank and count > before:
            if edge == float("inf"):
                return below
            return below + (edge - below) * (rank - before) / (count - before)
        below, before = edge, count
    return below


async def in_parallel(work: Iterable[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
    """Do pieces of work, AT_ONCE at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(piece: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async with slots:
            await piece()

    async with asyncio.TaskGroup() as group:
        for piece in work:
            group.create_task(one(piece))


def place(number: int) -> str:
    return f"team-{number % PLACES}"


def manifest(number: int) -> dict[str, Any]:
    """Return a job of which no stage is that of another job. The first has no release, so that it can be copied."""
    body: dict[str, Any] = load_yaml(MANIFEST, "job.yaml")
    name = f"job-{number:05d}"
    body["metadata"] = {"name": name, "namespace": place(number)}
    body["spec"]["dataset"]["sources"][0]["uri"] = f"s3://logs/{name}.jsonl"
    body["spec"]["release"] = {"name": name}
    if number == 0:
        del body["spec"]["release"]
    return body


async def run_jobs(kube: Kube, operator: Operator, jobs: int) -> tuple[list[Row], Samples]:
    """Run all jobs at once. Returns: the figures, and the operator's samples at the end."""
    started, cpu = time.monotonic(), operator.cpu()
    await in_parallel([lambda n=n: kube.create(DISTILLATION_JOBS, manifest(n)) for n in range(jobs)])  # type: ignore[misc]
    await all_ended(kube, operator, jobs)
    seconds = time.monotonic() - started
    await settled(operator)
    samples = await operator.samples()
    writes = {"verb": ("create", "update", "patch", "delete")}
    counted = chosen(samples, "distillery_api_calls_total", **writes) - sum(
        chosen(samples, "distillery_api_calls_total", resource=(kind,), **writes)
        for kind in ("events", "leases")
    )
    calls = chosen(samples, "distillery_api_calls_total")
    outcomes = "distillery_reconciles_total"
    looks = chosen(samples, outcomes)
    conflicts = chosen(samples, "distillery_api_calls_total", code=("409",))
    failed = chosen(samples, outcomes, outcome=("error",)) + chosen(samples, outcomes, outcome=("bug",))
    cpu_name = "distillery_reconcile_cpu_seconds"
    return [
        Row("operator's memory, most", operator.memory("VmHWM"), "MB", MOST_MEMORY),
        Row("CPU of one look, median", 1000 * quantile(samples, cpu_name, 0.5), "ms"),
        Row("CPU of one look, 99 %", 1000 * quantile(samples, cpu_name, 0.99), "ms", 1000 * MOST_CPU),
        Row("writes per finished job (no Events, no Leases)", counted / jobs, "", MOST_WRITES),
        Row("looks that failed", failed, "", 0.0),
        Row("answers 409", conflicts, ""),
        Row("looks per job", looks / jobs, ""),
        Row("API calls per job, all", calls / jobs, ""),
        Row("CPU of the operator per job", 1000 * (operator.cpu() - cpu) / jobs, "ms"),
        Row("wall time", seconds, "s"),
        Row("jobs per minute", 60 * jobs / seconds, ""),
    ], samples


async def all_ended(kube: Kube, operator: Operator, jobs: int) -> None:
    """Wait until all jobs have succeeded. Raises: RuntimeError if one ends otherwise or nothing moves."""
    done: set[str] = set()

    async def follow() -> None:
        async for _, job in kube.watch(DISTILLATION_JOBS):
            status = job.get("status") or {}
            if status.get("phase") == "Succeeded":
                done.add(job["metadata"]["uid"])
            elif status and ended(Status.model_validate(status)):
                raise RuntimeError(f"{job['metadata']['name']} has ended: {status['conditions']}")
            if len(done) >= jobs:
                return

    following = asyncio.create_task(follow())
    before, moved = -1.0, time.monotonic()
    while not following.done():
        await asyncio.wait({following}, timeout=5 * PROBE_SECONDS)
        looks = chosen(await operator.samples(), "distillery_reconciles_total")
        if looks != before:
            before, moved = looks, time.monotonic()
            told = f"  {looks:.0f} looks, {len(done)} of {jobs} jobs, {operator.memory():.0f} MB"
            print(told, file=sys.stderr, flush=True)
        if time.monotonic() - moved > GIVE_UP_SECONDS:
            following.cancel()
            raise RuntimeError(f"nothing has moved for {GIVE_UP_SECONDS:.0f} s: see {operator.log}")
    following.result()


async def settled(operator: Operator) -> float:
    """Wait until the operator leads, and three times in a row has no job to look at. Returns: its CPU seconds."""
    calm, before = 0, -1.0
    while calm < 3:
        await asyncio.sleep(PROBE_SECONDS)
        samples = await operator.samples()
        looks = chosen(samples, "distillery_reconciles_total")
        leads = chosen(samples, "distillery_leader") == 1 and looks > 0
        calm = calm + 1 if leads and looks == before else 0
        before = looks
    return operator.cpu()


@dataclass
class Template:
    """A finished job and its children as they lie in the API server."""

    job: dict[str, Any]
    children: list[tuple[Resource, dict[str, Any]]]

    @classmethod
    async def read(cls, kube: Kube, number: int) -> Template:
        wanted = manifest(number)["metadata"]
        job = await kube.get(DISTILLATION_JOBS, wanted["name"], wanted["namespace"])
        labels = f"{JOB_UID_LABEL}={job['metadata']['uid']}"
        maps = await kube.list(CONFIG_MAPS, wanted["namespace"], labels=f"{labels},!{STAGE_LABEL}")
        jobs = await kube.list(RAY_JOBS, wanted["namespace"], labels=labels)
        return cls(job, [*((CONFIG_MAPS, item) for item in maps), *((RAY_JOBS, item) for item in jobs)])

    async def copy(self, kube: Kube, number: int) -> None:
        """Create another finished job of this kind under another name."""
        body = manifest(number)
        body["spec"] = self.job["spec"]
        made = await kube.create(DISTILLATION_JOBS, body)
        renamed = self._renaming(ref_of(made))
        status = json.loads(renamed(json.dumps(self.job["status"])))
        await kube.replace_status(DISTILLATION_JOBS, {**made, "status": status})
        for resource, child in self.children:
            fresh = json.loads(renamed(json.dumps(child)))
            for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
                fresh["metadata"].pop(key, None)
            fresh["metadata"]["namespace"] = body["metadata"]["namespace"]
            stored = await kube.create(resource, fresh)
            if "status" in child:
                await kube.replace_status(resource, {**stored, "status": child["status"]})

    def _renaming(self, new: JobRef) -> Callable[[str], str]:
        """Return what turns texts about this job into texts about another one."""
        old = ref_of(self.job)
        record = next(c for _, c in self.children if c["metadata"]["name"].endswith("-record"))
        pairs = [
            (entry.name, attempt_name(new, entry.stage, entry.attempt, entry.identity))
            for entry in parse_record(record["data"]).values()
        ]
        pairs += [(account_name(old), account_name(new)), (old.uid, new.uid), (old.name, new.name)]
        # The sources keep their name: they are what the identities of the stages follow from.
        source = self.job["spec"]["dataset"]["sources"][0]["uri"]

        def renamed(text: str) -> str:
            text = text.replace(source, "\0")
            for before, after in pairs:
                text = text.replace(before, after)
            return text.replace("\0", source)

        return renamed


async def rest(
    kube: Kube, operator: Operator, jobs: int, idle: int, seconds: float, look: float
) -> list[Row]:
    """Measure the operator over finished jobs. Args: `look` is the CPU seconds of one look on average."""
    operator.stop()
    template = await Template.read(kube, 0)
    await in_parallel([lambda n=n: template.copy(kube, n) for n in range(jobs, max(jobs, idle))])  # type: ignore[misc]
    total = max(jobs, idle)
    operator.start()
    start = await settled(operator)
    before = await operator.samples()
    writes = {"verb": ("create", "update", "patch", "delete"), "resource": WRITTEN}
    at_start = chosen(before, "distillery_api_calls_total", **writes)
    cpu, began = operator.cpu(), time.monotonic()
    await asyncio.sleep(seconds)
    used, passed = operator.cpu() - cpu, time.monotonic() - began
    per_look = chosen(before, "distillery_reconcile_cpu_seconds_sum") / max(
        1.0, chosen(before, "distillery_reconcile_cpu_seconds_count")
    )
    resync = total / RESYNC_SECONDS * (per_look or look)
    return [
        Row("finished jobs", total, ""),
        Row("operator's memory at rest", operator.memory(), "MB", MOST_MEMORY),
        Row("operator's memory, most (start)", operator.memory("VmHWM"), "MB"),
        Row("CPU of the start, with a look at each", start, "s"),
        Row("writes of the start", at_start, "", 0.0),
        Row(f"share of a core over {passed:.0f} s", 100 * used / passed, "%", 100 * MOST_IDLE),
        Row("share of a core of the hourly look at each", 100 * resync, "%"),
        Row("both", 100 * (used / passed + resync), "%", 100 * MOST_IDLE),
    ]


WRITTEN = ("distillationjobs", "configmaps", "rayjobs", "serviceaccounts", "roles", "rolebindings")


@asynccontextmanager
async def playing(kube: Kube) -> AsyncIterator[None]:
    """Play KubeRay in this process."""
    task = asyncio.create_task(SimulatedCluster(kube, time.time).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def measure(server: ApiServer, options: argparse.Namespace) -> list[Row]:
    operator = Operator(server.kubeconfig, server.folder / "operator.log")
    async with Kube.connect(str(server.kubeconfig)) as kube:
        for name in (HOME, *(place(number) for number in range(PLACES))):
            await kube.create(NAMESPACES, {"metadata": {"name": name}})
        operator.start()
        try:
            while not chosen(await operator.samples(), "distillery_leader"):
                await asyncio.sleep(PROBE_SECONDS / 4)
            async with playing(kube):
                rows, samples = await run_jobs(kube, operator, options.jobs)
                for resource in (RAY_CLUSTERS, PODS):
                    rows.append(Row(f"{resource.plural} left over", len(await kube.list(resource)), "", 0.0))
            if options.idle:
                cpu = "distillery_reconcile_cpu_seconds"
                look = chosen(samples, f"{cpu}_sum") / chosen(samples, f"{cpu}_count")
                rows += await rest(kube, operator, options.jobs, options.idle, options.idle_seconds, look)
        except DistilleryError as error:
            raise RuntimeError(f"{error}: see {operator.log}") from error
        finally:
            operator.stop()
    return rows


def main() -> int:
    """Print the table. Returns: 0 if all limits are kept."""
    parser = argparse.ArgumentParser(description="what the operator costs")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=5000, help="finished jobs at rest; 0: leave this out")
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    parser.add_argument("--dir", type=Path, help="for the API server and the operator's log; kept")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    folder = options.dir or Path(
        tempfile.mkdtemp(prefix="distillery-bench-", dir=memory if memory.is_dir() else None)
    )
    server = ApiServer(folder)
    server.start()
    try:
        server.act(install_crds)
        rows = asyncio.run(measure(server, options))
    finally:
        server.stop()
    print(f"{options.jobs} jobs of 5 stages")
    print("\n".join(map(str, rows)))
    if options.dir is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(row.kept for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Whatever goes wrong between the operator and the API server, a job ends as it would have, and nothing is done twice.

The operator is the real process. Each job has a namespace, a plan of faults in the proxy, and a simulated KubeRay.
One case is one job whose Nth mutating call (or watch event, or list) goes wrong; cases of one test share one operator.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

import children
from controller_world import MANIFEST, ended
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.controller.shell import LEASE_NAME
from distillery.kube.client import Kube
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    EVENTS,
    LEASES,
    NAMESPACES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
)
from kube.apiserver import ROOT, ApiServer
from simulated_kuberay import SimulatedCluster, delete

from .fault_proxy import CALL_FAULTS, KILLS, LIST_FAULTS, WATCH_FAULTS, FaultProxy, Plan

pytestmark = [pytest.mark.kube, pytest.mark.timeout(900)]

PROCESS = Path(__file__).with_name("quick_operator.py")
NAME = "ticket-routing"
PATIENCE_SECONDS = 240.0
"""A run in which no job has moved for so long is given up."""
LISTS = 18
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """A job and what goes wrong with it."""

    namespace: str
    kind: str = ""
    nth: int = 0
    every: int = 0

    def __str__(self) -> str:
        return f"{self.kind or 'nothing'} at {self.nth}"


@dataclass
class Ended:
    """How a case ended: `story` is what must not depend on the way, `alarms` are the warnings that were shown."""

    story: dict[str, Any]
    left: Counter[str]
    alarms: list[str]
    commits: set[int]
    most_live: set[int]
    plan: Plan


@dataclass
class Operator:
    """The operator's process: started, killed and started again."""

    environment: dict[str, str]
    log: Path
    starts: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as stream:
            self._process = children.start(
                [sys.executable, PROCESS], env=self.environment, stderr=stream, stdout=stream
            )

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        self.kill()
        if self._process is not None:
            self._process.wait(children.REAP_SECONDS)


@dataclass
class Stand:
    """An API server, the proxy before it, the operator behind the proxy, and a player of KubeRay."""

    kube: Kube
    proxy: FaultProxy
    operator: Operator
    cluster: SimulatedCluster
    home: str
    _players: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, cases: list[Case]) -> dict[Case, Ended]:
        """Run the cases at once, until all have ended."""
        for case in cases:
            self.proxy.plans[case.namespace] = Plan(case.kind, case.nth, case.every)
            await self.kube.create(NAMESPACES, {"metadata": {"name": case.namespace}})
            manifest = load_yaml(MANIFEST, "job.yaml")
            manifest["metadata"]["namespace"] = case.namespace
            await self.kube.create(DISTILLATION_JOBS, manifest)
        await self._wait({case.namespace: case for case in cases})
        results = {case: await self._ended(case) for case in cases}
        for case in cases:
            await self._clear(case.namespace)
        return results

    async def _clear(self, namespace: str) -> None:
        """Play the garbage collector, so that runs on one API server do not burden each other."""
        for resource in (DISTILLATION_JOBS, RAY_JOBS, CONFIG_MAPS):
            for item in await self.kube.list(resource, namespace):
                await delete(self.kube, resource, item)

    async def _wait(self, cases: dict[str, Case]) -> None:
        """Wait until all jobs have ended and their objects are cleared away; start a killed operator again."""
        waiting, before, moved = dict(cases), "", time.monotonic()
        while waiting:
            await asyncio.sleep(1.0)
            if not self.operator.running():
                lease = await self.kube.find(LEASES, LEASE_NAME, self.home)
                if lease is not None:  # the next one would wait for its end
                    await delete(self.kube, LEASES, lease)
                self.operator.start()
            jobs = {_place(job): job for job in await self.kube.list(DISTILLATION_JOBS)}
            clusters = {_place(item) for item in await self.kube.list(RAY_CLUSTERS)}
            for place in list(waiting):
                over = place not in clusters and ended(_status(jobs[place]))
                if over and await self._closed(place):
                    del waiting[place]
            now = str([(place, jobs[place].get("status")) for place in waiting])
            if now != before:
                before, moved = now, time.monotonic()
            stuck = [f"{case}: {jobs[place].get('status')}" for place, case in waiting.items()]
            assert time.monotonic() - moved < PATIENCE_SECONDS, stuck

    async def _closed(self, namespace: str) -> bool:
        """Say whether every attempt's end is in the record."""
        maps = await self.kube.list(CONFIG_MAPS, namespace)
        record = next(m for m in maps if m["metadata"]["name"].endswith("-record"))
        return all("endedAt" in entry for entry in record["data"].values())

    async def _events(self, case: Case) -> list[dict[str, Any]]:
        return await self.kube.list(EVENTS, case.namespace)

    async def _ended(self, case: Case) -> Ended:
        job = await self.kube.get(DISTILLATION_JOBS, NAME, case.namespace)
        played = self.cluster.of(case.namespace)
        left: Counter[str] = Counter()
        for resource in (CONFIG_MAPS, RAY_JOBS, RAY_CLUSTERS, PODS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS):
            left[resource.plural] = len(await self.kube.list(resource, case.namespace))
        return Ended(
            story(_status(job)),
            left,
            [event["message"] for event in await self._events(case) if event["type"] == "Warning"],
            set(played.commits.values()),
            set(played.most_live.values()),
            self.proxy.plans[case.namespace],
        )


def story(status: Status) -> dict[str, Any]:
    """Return what must not depend on what happened on the way."""
    return {
        "phase": status.phase,
        "stages": [(s.name, s.state, s.identity, s.reused) for s in status.stages],
        "release": status.release,
        "conditions": sorted((c.type, c.status, c.reason) for c in status.conditions),
    }


def _place(item: dict[str, Any]) -> str:
    return str(item["metadata"]["namespace"])


def _status(job: dict[str, Any]) -> Status:
    return Status.model_validate(job.get("status") or {})


@asynccontextmanager
async def stand(server: ApiServer, folder: Path) -> AsyncIterator[Stand]:
    """Build everything up in a namespace of its own for the operator."""
    home = f"home-{os.urandom(3).hex()}"
    async with Kube.connect(str(server.kubeconfig)) as kube, FaultProxy.before(server.kubeconfig) as proxy:
        await kube.create(NAMESPACES, {"metadata": {"name": home}})
        environment = {
            **os.environ,
            "KUBECONFIG": str(proxy.write_kubeconfig(folder / "kubeconfig", home)),
            "POD_NAMESPACE": home,
            "DISTILLERY_PORT": "0",
            "DISTILLERY_WORKER_IMAGE": "distillery/worker:test",
            "PYTHONPATH": str(ROOT / "operator"),
        }
        operator = Operator(environment, folder / "operator.log")
        proxy.kill = operator.kill
        cluster = SimulatedCluster(kube, time.time)
        playing = asyncio.create_task(cluster.run())
        operator.start()
        try:
            yield Stand(kube, proxy, operator, cluster, home)
        finally:
            operator.stop()
            playing.cancel()
            await asyncio.wait({playing})
        if not playing.cancelled():
            playing.result()


def act(
    server: ApiServer,
    folder: Path,
    work: Callable[[Stand], Coroutine[Any, Any, T]],
    stale_lists: bool = False,
) -> T:
    async def conversation() -> T:
        async with stand(server, folder) as built:
            built.proxy.stale_lists = stale_lists
            return await work(built)

    return asyncio.run(conversation())


@pytest.fixture(scope="session")
def undisturbed(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """How a job ends to which nothing happens."""
    case = Case(f"faults-none-{os.urandom(3).hex()}")
    folder = tmp_path_factory.mktemp("undisturbed")
    return act(apiserver, folder, lambda built: built.run([case]))[case]


def cases(kind: str, numbers: Iterable[int], every: int = 0) -> list[Case]:
    """Return a case for each number."""
    mark = os.urandom(3).hex()
    return [Case(f"faults-{kind.replace(' ', '-')}-{n}-{mark}", kind, n, every) for n in numbers]


def check(expected: Ended, results: dict[Case, Ended]) -> None:
    """Every case ended as the undisturbed job did, and each stage was done once and by one attempt at a time."""
    wrong = [
        f"{case}: {what}: {seen} instead of {wanted}\n{list(enumerate(got.plan.calls, 1))}"
        for case, got in results.items()
        for what, seen, wanted in (
            ("story", got.story, expected.story),
            ("objects", got.left, expected.left),
            ("warnings", got.alarms, []),
            ("commits of one identity", got.commits, {1}),
            ("clusters of one stage", got.most_live, {1}),
            ("a fault that was due has not struck", got.plan.missed, False),
        )
        if seen != wanted
    ]
    assert not wrong, "\n".join(wrong)


def test_an_undisturbed_job_succeeds(undisturbed: Ended) -> None:
    assert undisturbed.story["phase"] == "Succeeded"
    assert (undisturbed.commits, undisturbed.most_live) == ({1}, {1})
    assert undisturbed.left["rayclusters"] == undisturbed.left["pods"] == 0
    writes = [call for call in undisturbed.plan.calls if "events" not in call]
    assert len(writes) <= 40, Counter(writes)


def test_a_sample_of_all_faults(apiserver: ApiServer, undisturbed: Ended, tmp_path: Path) -> None:
    """Every kind of fault, at calls that are spread over the run, another set for each kind."""
    calls = len(undisturbed.plan.calls)
    sample = [
        case
        for shift, kind in enumerate(CALL_FAULTS, 1)
        for case in cases(kind, range(shift, calls + 1, len(CALL_FAULTS)))
    ]
    sample += [case for kind in WATCH_FAULTS for case in cases(kind, (1, 3), every=4)]
    sample += [case for kind in LIST_FAULTS for case in cases(kind, (2,), every=2)]
    check(undisturbed, act(apiserver, tmp_path, lambda built: built.run(sample), stale_lists=True))


def test_an_operator_that_is_killed_at_some_calls(
    apiserver: ApiServer, undisturbed: Ended, tmp_path: Path
) -> None:
    calls = len(undisturbed.plan.calls)
    sample = cases("kill before", range(2, calls + 1, 12)) + cases("kill after", range(5, calls + 1, 12))
    check(undisturbed, act(apiserver, tmp_path, lambda built: built.run(sample)))


@pytest.mark.full
@pytest.mark.parametrize("kind", CALL_FAULTS + KILLS)
def test_a_fault_at_any_call(kind: str, apiserver: ApiServer, undisturbed: Ended, tmp_path: Path) -> None:
    every_one = cases(kind, range(1, len(undisturbed.plan.calls) + 1))
    check(undisturbed, act(apiserver, tmp_path, lambda built: built.run(every_one)))


@pytest.mark.full
@pytest.mark.parametrize("kind", WATCH_FAULTS)
def test_a_fault_at_any_event(kind: str, apiserver: ApiServer, undisturbed: Ended, tmp_path: Path) -> None:
    """Each case strikes at every 24th event from another one on, so that together they strike at all."""
    every_one = cases(kind, range(1, 25), every=24)
    check(undisturbed, act(apiserver, tmp_path, lambda built: built.run(every_one)))


@pytest.mark.full
@pytest.mark.parametrize("kind", LIST_FAULTS)
def test_an_old_answer_to_any_list(
    kind: str, apiserver: ApiServer, undisturbed: Ended, tmp_path: Path
) -> None:
    """The lists of single jobs one by one; those of the whole cluster every second time."""
    every_one = cases(kind, range(4, LISTS + 1))
    check(undisturbed, act(apiserver, tmp_path, lambda built: built.run(every_one), stale_lists=True))

"""One object, whatever the API server admits, costs that object alone: others are looked at, no process ends.

Two operators run as processes, the poison is really there, one process takes over from the other with it. Each poison
is refused in its status in words that name the field, and taken as soon as it is repaired.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import children
from controller_world import MANIFEST
from distillery.api.v1alpha1.conditions import find_condition
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.controller.shell import LEASE_NAME
from distillery.kube.client import Kube, Object
from distillery.kube.errors import Stale
from distillery.kube.resources import DISTILLATION_JOBS, LEASES
from kube.apiserver import ROOT, ApiServer, kubectl, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(3000)]

PROCESS = """
import os
from distillery.controller import __main__ as process, sweep

process.HOST = "127.0.0.1"
sweep.SWEEP_SECONDS = 20.0
os._exit(process.main())
"""
"""The operator as it is, but that it listens on loopback and lists more often."""
WORKER_IMAGE = "worker:test"

MAPS, LISTS = ('{"a":', "}"), ("[", "]")


def nested(depth: int, shape: tuple[str, str] = MAPS, inside: str = "1") -> str:
    """JSON of that depth; the outermost value is always a mapping."""
    return '{"a":' + shape[0] * (depth - 1) + inside + shape[1] * (depth - 1) + "}"


WIDE = '{"a":[' + "{}," * 340_000 + "{}]}"
KEYS = '{"a":{' + ",".join(f'"k{n}":0' for n in range(60_000)) + "}}"
TEXT = '{"a":"' + "x" * 1_000_000 + '"}'
ARCHITECTURE = ("student", "base", "architecture")
SCHEMA = ("task", "output", "schema")
WHERE = ("dataset", "slices", 0, "where")

POISON: dict[str, tuple[tuple[Any, ...], str]] = {
    "deep-architecture": (ARCHITECTURE, nested(1500)),
    "deepest-architecture": (ARCHITECTURE, nested(9_980, LISTS)),
    "deep-schema": (SCHEMA, nested(1500, LISTS)),
    "deepest-schema": (SCHEMA, nested(9_980)),
    "deep-where": (WHERE, nested(1500, ('[{"b\\"[":', "}]"))),
    "deepest-where": (WHERE, nested(9_980, LISTS)),
    "below-the-decoder": (ARCHITECTURE, nested(150)),
    "just-too-deep": (ARCHITECTURE, nested(65)),
    "wide-architecture": (ARCHITECTURE, WIDE),
    "keys-in-schema": (SCHEMA, KEYS),
    "text-in-where": (WHERE, TEXT),
    "deep-and-wide": (ARCHITECTURE, nested(9_000, LISTS, ",".join(["{}"] * 250_000))),
    "wide-and-deep": (ARCHITECTURE, '{"a":[' + "[]," * 250_000 + nested(9_000, LISTS) + "]}"),
}


def body_of(namespace: str, name: str) -> Object:
    body = load_yaml(MANIFEST, "job.yaml")
    return {**body, "metadata": {"name": name, "namespace": namespace}}


def poisoned(namespace: str, name: str) -> str:
    """Return the JSON of a job with something in a free-form field that no decoder of ours could write."""
    path, text = POISON[name]
    body = copy.deepcopy(body_of(namespace, name))
    spec = body["spec"]
    spec["dataset"]["slices"] = [{"name": "s", "where": {"lang": "de"}}]
    if path == SCHEMA:
        spec["task"]["output"] = {"format": "json", "schema": {}}
        spec["evaluation"] = {}
        del spec["release"]
    inner = spec
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = "POISON"
    return json.dumps(body).replace('"POISON"', text)


@dataclass
class Replica:
    """One operator."""

    process: subprocess.Popen[bytes]
    log: Path

    def megabytes(self) -> int:
        """The most memory it has had."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024
        return 0

    def tell(self, who: str) -> None:
        """Print what it took."""
        print(f"\n{who} took {self.megabytes()} MiB at most and {self.seconds():.1f} s of CPU")

    def seconds(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def replicas(server: ApiServer, folder: Path, namespace: str) -> Iterator[list[Replica]]:
    """Two operators for the whole cluster; at the end none may have ended by itself."""
    started: list[Replica] = []
    try:
        for name in ("a", "b"):
            log = folder / f"operator-{name}.log"
            environment = {
                **os.environ,
                "KUBECONFIG": str(server.kubeconfig),
                "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "tests")]),
                "POD_NAME": name,
                "POD_NAMESPACE": namespace,
                "DISTILLERY_WORKER_IMAGE": WORKER_IMAGE,
                "DISTILLERY_PORT": "0",
            }
            with log.open("wb") as stream:
                process = children.start(
                    [sys.executable, "-c", PROCESS], env=environment, stderr=stream, stdout=stream
                )
            started.append(Replica(process, log))
        yield started
    except BaseException:
        for replica in started:
            sys.stderr.write(
                f"operator, exit status {replica.process.poll()}:\n{replica.log.read_text()[-8000:]}"
            )
        raise
    finally:
        for replica in started:
            children.end(replica.process)


class Story:
    """What is done to the cluster and what must be seen there."""

    def __init__(self, server: ApiServer, folder: Path, namespace: str) -> None:
        self.server = server
        self.folder = folder
        self.namespace = namespace
        self.fresh = 0
        self.waits: list[float] = []

    async def create(self, name: str) -> None:
        file = self.folder / f"{name}.json"
        file.write_text(poisoned(self.namespace, name))
        await asyncio.to_thread(kubectl, self.server, "create", "-f", str(file))

    async def others_go_on(self, kube: Kube) -> None:
        """Create a job that is fine and see that it is looked at."""
        self.fresh += 1
        name, started = f"fresh-{self.fresh}", time.monotonic()
        await kube.create(DISTILLATION_JOBS, body_of(self.namespace, name))
        await until(lambda: self.looked_at(kube, name), f"{name} is looked at", 60)
        self.waits.append(time.monotonic() - started)

    async def looked_at(self, kube: Kube, name: str) -> bool:
        status = await self.status(kube, name)
        return status is not None and status.observed_generation >= 1 and status.phase != "Failed"

    async def refused(self, kube: Kube, name: str) -> bool:
        """Say whether `kubectl get dj` shows a job as refused, for the right field."""
        status = await self.status(kube, name)
        stalled = find_condition(status.conditions, "Stalled") if status else None
        if status is None or stalled is None or status.phase != "Failed":
            return False
        field = "spec." + ".".join(str(step) for step in POISON[name][0]).replace(".0.", "[0].")
        assert (stalled.status, stalled.reason) == ("True", "InvalidSpec")
        assert f"{field}: " in stalled.message, stalled.message
        return True

    async def status(self, kube: Kube, name: str) -> Status | None:
        found = await kube.find(DISTILLATION_JOBS, name, self.namespace)
        return Status.model_validate(found["status"]) if found and "status" in found else None

    async def repair(self, kube: Kube, name: str) -> None:
        """Edit a poison object into one that is fine."""
        while True:
            found = await kube.get(DISTILLATION_JOBS, name, self.namespace)
            try:
                await kube.replace(
                    DISTILLATION_JOBS, {**found, "spec": body_of(self.namespace, name)["spec"]}
                )
                return
            except Stale:
                continue

    async def led_by_another(self, kube: Kube, before: str) -> bool:
        holder = (await self.leader(kube)).split("_")[0]
        return bool(holder) and holder != before

    async def leader(self, kube: Kube) -> str:
        lease = await kube.find(LEASES, LEASE_NAME, self.namespace)
        return str(lease["spec"].get("holderIdentity") or "") if lease else ""


QUICK = (
    "deep-architecture",
    "deepest-architecture",
    "deep-schema",
    "deepest-where",
    "just-too-deep",
    "wide-architecture",
    "wide-and-deep",
)
"""The API server takes seconds for each of the others, and for each of their statuses."""


def test_a_poison_object_costs_one_job(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    """Poison comes while both replicas run; then the standby takes over and lists it all."""
    _happen(Story(apiserver, tmp_path, namespace), QUICK, seconds=0)


@pytest.mark.full
def test_poison_that_lies_about_costs_nobody_else_anything(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """All kinds of it, ten minutes with each replica."""
    _happen(Story(apiserver, tmp_path, namespace), tuple(POISON), seconds=600)


def _happen(story: Story, poison: tuple[str, ...], seconds: float) -> None:
    async def lies_about(kube: Kube) -> None:
        """Others are looked at for as long as the poison is there."""
        ends = time.monotonic() + seconds
        await story.others_go_on(kube)
        while time.monotonic() < ends:
            await asyncio.sleep(20)
            await story.others_go_on(kube)

    async def happen(kube: Kube, running: list[Replica]) -> None:
        await until(lambda: story.leader(kube), "one leads", 30)
        await story.others_go_on(kube)
        for name in poison:
            await story.create(name)
        await lies_about(kube)
        for name in poison:
            await until(partial(story.refused, kube, name), f"{name} is refused", 120)
        assert [replica.process.poll() for replica in running] == [None, None]
        leads = (await story.leader(kube)).split("_")[0]
        first, second = running if leads == "a" else running[::-1]
        first.tell("the leader")
        first.process.kill()
        await until(partial(story.led_by_another, kube, leads), "the other one leads", 60)
        await lies_about(kube)
        for name in poison:
            await story.repair(kube, name)
        for name in poison:
            await until(partial(story.looked_at, kube, name), f"{name} is taken", 120)
        await story.others_go_on(kube)
        assert second.process.poll() is None
        second.tell("the other one")
        print(f"other jobs waited {max(story.waits):.1f} s at most")
        assert second.megabytes() < 300

    with replicas(story.server, story.folder, story.namespace) as running:
        try:
            story.server.act(lambda kube: happen(kube, running))
        finally:
            cleared(story.server, story.namespace)


def cleared(server: ApiServer, namespace: str) -> None:
    kubectl(server, "delete", "distillationjobs", "--all", "-n", namespace, "--wait=false")

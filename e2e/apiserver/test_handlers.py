"""The operator's shell with Kopf against a real API server: every event reaches the queue, nothing is written back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.controller.shell import LEASE_NAME
from distillery.kube.client import Kube
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    LEASES,
    NAMESPACES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    Resource,
)
from distillery.manifests.metadata import attempt_labels, job_labels
from distillery.planning.record import JobRef
from kube.apiserver import ROOT, ApiServer, kubectl, managers, until
from tiny_job import manifest

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

SCRIPT = ROOT / "tests" / "controller" / "watching_operator.py"


@dataclass
class Operator:
    """A running process, what it noted and what it logged. Other tests have left jobs of the same names elsewhere."""

    namespace: str
    process: subprocess.Popen[bytes]
    notes_file: Path
    log_file: Path

    def notes(self) -> list[dict[str, Any]]:
        if not self.notes_file.exists():
            return []
        return [json.loads(line) for line in self.notes_file.read_text().splitlines()]

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def saw(self, job: str, *children: str) -> bool:
        looks = [note["children"] for note in self.notes() if note.get("job") == f"{self.namespace}/{job}"]
        return bool(looks) and looks[-1] == list(children)

    def looks(self, job: str, namespace: str | None = None) -> int:
        return sum(note.get("job") == f"{namespace or self.namespace}/{job}" for note in self.notes())

    def port(self) -> int:
        said = [line["message"] for line in self.log() if "serving probes on port" in line["message"]]
        return int(said[0].rsplit(" ", 1)[1])

    def probe(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port()}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def logged(self, words: str) -> bool:
        return any(words in line["message"] for line in self.log())


@contextmanager
def operator(
    server: ApiServer, folder: Path, lease_in: str, name: str = "a", *only: str
) -> Iterator[Operator]:
    notes, log = folder / "notes", folder / f"log-{name}"
    environment = {
        **os.environ,
        "KUBECONFIG": str(server.kubeconfig),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "operator"), str(ROOT / "tests")]),
    }
    command = [sys.executable, SCRIPT, str(server.kubeconfig), str(notes), name, lease_in, *only]
    with log.open("wb") as stream:
        process = children.start(command, env=environment, stderr=stream, stdout=stream)
    try:
        yield Operator(lease_in, process, notes, log)
    except BaseException:
        sys.stderr.write(f"operator {name}, exit status {process.poll()}:\n{log.read_text()}")
        sys.stderr.write(notes.read_text() if notes.exists() else "nothing noted\n")
        raise
    finally:
        children.end(process)


def job(namespace: str, name: str = "tiny", **spec: Any) -> dict[str, Any]:
    body = manifest("http://127.0.0.1:1/v1", Path("/tickets.jsonl"))
    body["metadata"] = {"name": name, "namespace": namespace}
    body["spec"]["storage"] = {
        "uri": "s3://bucket/prefix",
        "endpoint": "http://127.0.0.1:1",
        "region": "eu-1",
    }
    return {**body, "spec": {**body["spec"], **spec}}


def child(resource: Resource, ref: JobRef, name: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": ref.namespace, "labels": attempt_labels(ref, "teacher", 1)}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **more}


POD = {"containers": [{"name": "ray-head", "image": "none"}]}
CLUSTER = {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": POD}}}
RAY_JOB = {"entrypoint": "true", "rayClusterSpec": CLUSTER}


async def make_job(kube: Kube, namespace: str, name: str = "tiny", **spec: Any) -> JobRef:
    made = await kube.create(DISTILLATION_JOBS, job(namespace, name, **spec))
    return JobRef(name, namespace, made["metadata"]["uid"])


def ended_or_saw(running: Operator, *children: str) -> bool:
    return running.process.poll() is not None or running.saw("tiny", *children)


def test_events_of_a_job_and_its_children_reach_the_queue_and_nothing_is_written_to_them(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, running: Operator) -> None:
        ref = await make_job(kube, namespace)
        await until(lambda: running.saw("tiny"), "the job")
        rayjob = await kube.create(RAY_JOBS, child(RAY_JOBS, ref, "attempt", spec=RAY_JOB))
        await until(lambda: running.saw("tiny", "attempt "), "the RayJob")
        await kube.replace_status(RAY_JOBS, {**rayjob, "status": {"jobStatus": "RUNNING"}})
        await until(lambda: running.saw("tiny", "attempt RUNNING"), "its status")
        await kube.create(RAY_CLUSTERS, child(RAY_CLUSTERS, ref, "cluster", spec=CLUSTER))
        pod = await kube.create(PODS, child(PODS, ref, "pod", spec=POD))
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}
        await kube.replace_status(PODS, {**pod, "status": {"phase": "Pending", "conditions": [unscheduled]}})
        all_three = ("attempt RUNNING", "cluster", "pod Unschedulable")
        await until(lambda: running.saw("tiny", *all_three), "cluster and pod")

        looks = running.looks("tiny")
        reports = {"metadata": {"name": "tiny-reports", "namespace": namespace, "labels": job_labels(ref)}}
        await kube.create(CONFIG_MAPS, reports)
        await until(lambda: running.looks("tiny") > looks, "the reports")

        kinds = (
            (RAY_JOBS, "attempt"),
            (RAY_CLUSTERS, "cluster"),
            (PODS, "pod"),
            (CONFIG_MAPS, "tiny-reports"),
        )
        for resource, name in (*kinds, (DISTILLATION_JOBS, "tiny")):
            metadata = (await kube.get(resource, name, namespace))["metadata"]
            assert "finalizers" not in metadata
            assert "annotations" not in metadata
            writers = managers(apiserver, resource.plural, name, namespace)
            assert writers <= {("distillery", None), ("distillery", "status")}

        await kube.delete(RAY_JOBS, "attempt", namespace, uid=rayjob["metadata"]["uid"])
        await kube.merge(PODS, "pod", {"metadata": {"labels": {"distillery.dev/job-uid": None}}}, namespace)
        await until(lambda: running.saw("tiny", "cluster"), "what is gone")
        await kube.delete(DISTILLATION_JOBS, "tiny", namespace, uid=ref.uid)
        await until(lambda: {"by": "a", "forgot": ref.uid} in running.notes(), "the end")
        status, text = running.probe("/metrics")
        assert status == 200
        assert "distillery_leader 1.0" in text
        assert 'distillery_api_calls_total{code="200",resource="distillationjobs",verb="get"}' in text
        assert running.probe("/healthz") == (200, "ok")

    with operator(apiserver, tmp_path, namespace) as running:
        apiserver.act(lambda kube: scene(kube, running))


def test_a_profile_wakes_the_jobs_that_may_use_it(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, running: Operator) -> None:
        await make_job(kube, namespace, "one", profile=f"p-{namespace}")
        await make_job(kube, namespace, "two", profile="another")
        await make_job(kube, namespace, "three")
        await until(lambda: all(running.looks(name) for name in ("one", "two", "three")), "the jobs")
        before = {name: running.looks(name) for name in ("one", "two", "three")}
        await kube.create(
            DISTILLATION_PROFILES,
            {
                "apiVersion": DISTILLATION_PROFILES.api_version,
                "kind": "DistillationProfile",
                "metadata": {"name": f"p-{namespace}"},
                "spec": {},
            },
        )
        for name in ("one", "three"):
            await until(lambda name=name: running.looks(name) > before[name], name)
        assert running.looks("two") == before["two"]

    with operator(apiserver, tmp_path, namespace, "a", namespace) as running:
        apiserver.act(lambda kube: scene(kube, running))


def test_only_the_namespaces_that_were_named_are_looked_after(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, running: Operator) -> None:
        other = f"{namespace}-b"
        await kube.create(NAMESPACES, {"metadata": {"name": other}})
        await make_job(kube, other, "elsewhere")
        await make_job(kube, namespace, "here")
        await until(lambda: running.looks("here"), "the job")
        assert running.looks("elsewhere", other) == 0

    with operator(apiserver, tmp_path, namespace, "a", namespace) as running:
        apiserver.act(lambda kube: scene(kube, running))


def test_what_happened_while_the_api_server_was_away_is_seen_afterwards(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    """By the same process if the server was back before the Lease had to be given up, else by its successor."""

    async def scene(kube: Kube, running: Operator) -> None:
        ref = await make_job(kube, namespace)
        await kube.create(RAY_JOBS, child(RAY_JOBS, ref, "attempt", spec=RAY_JOB))
        await until(lambda: running.saw("tiny", "attempt "), "the RayJob")
        apiserver.kill()
        await asyncio.to_thread(apiserver.start)
        await until(lambda: kube.find(RAY_JOBS, "attempt", namespace), "the restart")
        await kube.create(RAY_JOBS, child(RAY_JOBS, ref, "later", spec=RAY_JOB))
        with ExitStack() as stack:
            for _ in range(2):
                await until(partial(ended_or_saw, running, "attempt ", "later "), "the later one", 60)
                if running.process.poll() is None:
                    return
                assert running.process.poll() == 1
                running = stack.enter_context(operator(apiserver, tmp_path, namespace, "b"))
            raise AssertionError("the successor has ended too")

    with operator(apiserver, tmp_path, namespace) as running:
        apiserver.act(lambda kube: scene(kube, running))


def test_a_signal_ends_the_process_in_order_and_gives_the_lease_back(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, running: Operator) -> None:
        await make_job(kube, namespace)
        await until(lambda: running.looks("tiny"), "the job")
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(running.process.wait, 30) == 0
        lease = await kube.get(LEASES, LEASE_NAME, namespace)
        assert lease["spec"]["holderIdentity"] == ""

    with operator(apiserver, tmp_path, namespace) as running:
        apiserver.act(lambda kube: scene(kube, running))


def test_a_standby_is_live_and_ready_and_takes_over_when_the_leader_is_killed(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, first: Operator) -> None:
        await make_job(kube, namespace)
        await until(lambda: first.looks("tiny"), "the leader")
        with operator(apiserver, tmp_path, namespace, "b") as second:
            await until(lambda: second.log_file.exists() and second.logged("standing by"), "the standby")
            assert second.probe("/healthz") == (200, "ok")
            assert second.probe("/readyz") == (200, "ok")
            assert "distillery_leader 0.0" in second.probe("/metrics")[1]
            assert {note["by"] for note in first.notes()} == {"a"}
            first.process.kill()
            await until(lambda: second.logged("leading as b"), "the takeover", 60)
            await until(lambda: {"b"} <= {note["by"] for note in second.notes()}, "its look", 60)

    with operator(apiserver, tmp_path, namespace) as first:
        apiserver.act(lambda kube: scene(kube, first))


def test_a_leader_whose_lease_was_taken_ends_with_a_failure(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, running: Operator) -> None:
        await make_job(kube, namespace)
        await until(lambda: running.looks("tiny"), "the leader")
        thief = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600}}
        await kube.merge(LEASES, LEASE_NAME, thief, namespace)
        assert await asyncio.to_thread(running.process.wait, 30) == 1
        assert running.logged("the Lease ended: the Lease was taken by thief")
        assert (await kube.get(LEASES, LEASE_NAME, namespace))["spec"]["holderIdentity"] == "thief"

    with operator(apiserver, tmp_path, namespace) as running:
        apiserver.act(lambda kube: scene(kube, running))


def test_a_kind_that_is_installed_later_restarts_the_process(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    definition = kubectl(apiserver, "get", "crd", "rayclusters.ray.io", "-o", "json")
    kubectl(apiserver, "delete", "crd", "rayclusters.ray.io")
    saved = tmp_path / "definition.json"
    saved.write_text(definition)

    async def scene(kube: Kube, running: Operator) -> None:
        await make_job(kube, namespace)
        await until(lambda: running.looks("tiny"), "the job, without the kind", 60)
        assert running.logged("RayCluster (ray.io/v1) is not installed")
        await asyncio.to_thread(kubectl, apiserver, "create", "-f", str(saved))
        assert await asyncio.to_thread(running.process.wait, 90) == 1
        assert running.logged("RayCluster can be watched now")

    with operator(apiserver, tmp_path, namespace) as running:
        try:
            apiserver.act(lambda kube: scene(kube, running))
        finally:
            restore(apiserver, saved)


def restore(server: ApiServer, definition: Path) -> None:
    """Create the definition again if the test has not."""
    try:
        kubectl(server, "get", "crd", "rayclusters.ray.io")
    except subprocess.CalledProcessError:
        kubectl(server, "create", "-f", str(definition))

"""A small API server for the command line: real HTTP, the few paths that its verbs use, and a scripted operator.

It proves how the command line behaves towards answers; e2e/apiserver asks the real one whether it answers so.
"""

from __future__ import annotations

import asyncio
import copy
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from distillery.cli import main
from tiny_job import Ran

Job = dict[str, Any]
Operator = Callable[[Job], list[Job]]
GROUP = "/apis/distillery.dev/v1alpha1"
NOW = "2026-11-03T12:30:00Z"


KINDS = ("distillationjobs", "pods", "rayjobs", "rayclusters")


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def refusal(code: int, reason: str, message: str, **details: str) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return web.json_response(body, status=code)


@dataclass
class FakeCluster:
    """Objects by path, what was asked, and what else is answered: `answers` by (method, part of the path)."""

    folder: Path
    objects: dict[str, Job] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    answers: dict[tuple[str, str], Callable[[], web.Response]] = field(default_factory=dict)
    operator: Operator = lambda job: []
    """What the operator makes of a job that was written: the objects that follow, one by one."""
    version: int = 1
    watchers: list[tuple[str, asyncio.Queue[Job]]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> str:
        return str(self.folder / "kubeconfig")

    def job(self, name: str = "tiny", namespace: str = "team-a", **parts: Any) -> Job:
        """Put a job there and return it."""
        metadata = {"name": name, "namespace": namespace, "uid": f"{name}-uid", "generation": 1}
        job = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationJob", "metadata": metadata}
        job["spec"] = {}
        return self.store(f"{GROUP}/namespaces/{namespace}/distillationjobs/{name}", {**job, **parts})

    def pod(
        self, name: str, *, lines: list[str], created: str = NOW, chain: bool = True, **labels: str
    ) -> Job:
        """Put a running head pod of job `tiny` there, and what controls it: a RayJob and its Ray cluster."""
        ours = {f"distillery.dev/{key.replace('_', '-')}": value for key, value in labels.items()}
        ours["app.kubernetes.io/managed-by"] = "distillery"
        metadata = {
            "name": name,
            "namespace": "team-a",
            "uid": f"{name}-uid",
            "creationTimestamp": created,
            "labels": {"ray.io/node-type": "head", **ours},
        }
        if chain:
            stage = f"{labels.get('stage')}-{labels.get('attempt')}"
            owner = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationJob"}
            owner |= {"name": "tiny", "uid": "tiny-uid"}
            for kind, called in (("RayJob", f"tiny-{stage}"), ("RayCluster", f"tiny-{stage}-abcde")):
                above = {**metadata, "name": called, "uid": f"{called}-uid", "labels": ours}
                above["ownerReferences"] = [{**owner, "controller": True}]
                plural = f"{kind.lower()}s"
                self.store(f"/apis/ray.io/v1/namespaces/team-a/{plural}/{called}", {"metadata": above})
                owner = {"apiVersion": "ray.io/v1", "kind": kind, "name": called, "uid": f"{called}-uid"}
            metadata["ownerReferences"] = [{**owner, "controller": True}]
        self.logs[name] = lines
        body = {
            "metadata": metadata,
            "spec": {"containers": [{"name": "ray-head"}]},
            "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]},
        }
        return self.store(f"/api/v1/namespaces/team-a/pods/{name}", body)

    def store(self, path: str, body: Job) -> Job:
        self.version += 1
        body = copy.deepcopy(body)
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = body
        for collection, queue in self.watchers:
            if path.startswith(collection):
                queue.put_nowait({"type": "MODIFIED", "object": body})
        return body

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append((request.method, request.path, dict(request.query), body))
        for (method, part), answer in self.answers.items():
            if method == request.method and part in request.path:
                return answer()
        if request.method == "PATCH":
            return self.patched(request, body)
        if request.path.endswith("/log"):
            lines = self.logs[request.path.split("/")[-2]]
            return web.Response(text="".join(f"{line}\n" for line in lines))
        if request.path in self.objects:
            return web.json_response(self.objects[request.path])
        if request.path.rsplit("/", 1)[1] in KINDS:
            return await self.collection(request)
        name = request.path.rsplit("/", 1)[1]
        return refusal(404, "NotFound", f'distillationjobs.distillery.dev "{name}" not found', name=name)

    def patched(self, request: web.Request, body: Job) -> web.Response:
        before = self.objects.get(request.path)
        apply = request.headers["Content-Type"] == "application/apply-patch+yaml"
        if before is None and not apply:
            return refusal(404, "NotFound", "not found", name="x")
        metadata = {"uid": f"{body['metadata'].get('name')}-uid", "generation": 1}
        after = merged(before or {"metadata": metadata}, body)
        if apply:
            after["spec"] = body["spec"]
        if before is not None and after["spec"] != before["spec"]:
            after["metadata"]["generation"] += 1
        if after == before or request.query.get("dryRun"):
            return web.json_response(after)
        after = self.store(request.path, after)
        asyncio.get_running_loop().create_task(self.operate(request.path, after))
        return web.json_response(after)

    async def operate(self, path: str, job: Job) -> None:
        for following in self.operator(job):
            while not self.watchers:  # so that nobody misses a step
                await asyncio.sleep(0.01)
            self.store(path, following)

    def chosen(self, request: web.Request) -> list[Job]:
        prefix, _, plural = request.path.rpartition("/")
        found = [o for p, o in self.objects.items() if p.startswith(prefix) and f"/{plural}/" in p]
        fields = request.query.get("fieldSelector", "").removeprefix("metadata.name=")
        wanted = dict(pair.split("=") for pair in request.query.get("labelSelector", "").split(",") if pair)
        return [
            o
            for o in found
            if (not fields or o["metadata"]["name"] == fields)
            and wanted.items() <= o["metadata"].get("labels", {}).items()
        ]

    async def collection(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            answer = {"items": self.chosen(request), "metadata": {"resourceVersion": str(self.version)}}
            return web.json_response(answer)
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[Job] = asyncio.Queue()
        for item in self.chosen(request):
            if int(item["metadata"]["resourceVersion"]) > int(request.query["resourceVersion"]):
                queue.put_nowait({"type": "MODIFIED", "object": item})
        self.watchers.append((f"{request.path}/", queue))
        while True:
            await response.write(json.dumps(await queue.get()).encode() + b"\n")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    """An API server on loopback with a kubeconfig whose context stands in namespace team-a."""
    fake = FakeCluster(tmp_path)
    ready = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", fake.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        Path(fake.kubeconfig).write_text(json.dumps(kubeconfig_for(f"http://{host}:{port}")))
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(end.set))
        ready.set()
        await end.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield fake
    ends[0]()
    thread.join(30)


def kubeconfig_for(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "team-a"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "token-of-the-test"}}],
    }


Here = Callable[..., Ran]


@pytest.fixture
def distillery(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    """Run the command line in this process, in an empty folder, without the environment's cluster."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, program: str = "distillery") -> Ran:
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        code = 0
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Ran(code, out.getvalue(), err.getvalue())

    return run

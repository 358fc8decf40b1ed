"""What a worker needs around it in tests: the ConfigMap API over HTTP, and a bench that plays the operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import children
from distillery.api.v1alpha1.common import Storage
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.artifacts.manifest import Parent
from distillery.planning.plan import Plan, build_plan
from distillery.planning.record import AttemptRecord
from distillery.stages.assignment import Assignment, attempt_key
from distillery.stages.report import Report
from distillery.stages.stage import StageName
from tiny_job import Bench

NAMESPACE = "support"
RECORD = "tiny-0123abcd-record"
REPORTS = "tiny-0123abcd-reports"
UID = "0123abcd-0000-4000-8000-000000000001"
TOKEN = "token-of-the-pod-4711"

Fault = Callable[[str, str], str | None]
"""(method, name of the ConfigMap) → what goes wrong: 500, 403, 409, hang, cut (before the work), lost (after it)."""


@dataclass
class ConfigMapApi:
    """GET and merge PATCH of the ConfigMaps of one namespace, resourceVersions and all. Everything else is 403."""

    fault: Fault = lambda method, name: None
    maps: dict[str, dict[str, str]] = field(default_factory=lambda: {RECORD: {}, REPORTS: {}})
    written: list[tuple[str, str]] = field(default_factory=list)
    """(key, text) of every entry that was committed."""
    refused: list[str] = field(default_factory=list)
    faults: int = 0
    url: str = ""
    _versions: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _release: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, key: str, text: str | None) -> None:
        """Write an entry as somebody else, or remove it."""
        with self._lock:
            self._merge(name, {key: text})

    def reports(self, key: str) -> list[Report]:
        """Every report that was committed under a key, in order."""
        return [Report.model_validate_json(text) for written, text in self.written if written == key]

    def handle(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]] | None:
        """Return (status, answer); None: hang up without one."""
        prefix = f"/api/v1/namespaces/{NAMESPACE}/configmaps/"
        name = path.removeprefix(prefix)
        if method not in ("GET", "PATCH") or name not in self.maps:
            self.refused.append(f"{method} {path}")
            return _status(403, "Forbidden")
        fault = self.fault(method, name)
        self.faults += fault is not None
        match fault:
            case "500":
                return _status(500, "InternalError")
            case "403":
                return _status(403, "Forbidden")
            case "409":
                return _status(409, "Conflict")
            case "cut":
                return None
            case "hang":
                self._release.wait(children.PATIENCE)
                return None
        with self._lock:
            answer = self._do(method, name, body)
        return None if fault == "lost" else answer

    def _do(self, method: str, name: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if method == "PATCH":
            patch = json.loads(body)
            wanted = patch.get("metadata", {}).get("resourceVersion")
            if wanted is not None and wanted != str(self._versions.get(name, 1)):
                return _status(409, "Conflict")
            self._merge(name, patch["data"])
            self.written += list(patch["data"].items())
        return 200, {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "resourceVersion": str(self._versions.get(name, 1))},
            **({"data": self.maps[name]} if self.maps[name] else {}),
        }

    def _merge(self, name: str, data: Mapping[str, str | None]) -> None:
        for key, text in data.items():
            if text is None:
                self.maps[name].pop(key, None)
            else:
                self.maps[name][key] = text
        self._versions[name] = self._versions.get(name, 1) + 1

    @contextmanager
    def served(self) -> Iterator[ConfigMapApi]:
        """Serve on loopback."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = api.handle(self.command, self.path, body)
                if answer is None:
                    self.close_connection = True
                    return
                status, document = answer
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a worker that was killed

        server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._release.set()
            server.shutdown()
            server.server_close()
            thread.join(30)


def _status(code: int, reason: str) -> tuple[int, dict[str, Any]]:
    details = {"name": "some", "kind": "configmaps"}
    return code, {"kind": "Status", "code": code, "reason": reason, "message": reason, "details": details}


@dataclass
class Ended:
    """A worker process that has ended."""

    code: int
    log: str


@dataclass
class Operator:
    """Starts workers as the operator would, one stage after the other."""

    bench: Bench
    api: ConfigMapApi
    heartbeat: float = 0.3
    environment: dict[str, str] = field(default_factory=dict)
    parents: list[Parent] = field(default_factory=list)
    uid: str = UID
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def storage(self) -> Storage:
        return Storage(uri=f"file://{self.bench.folder}/store")

    @property
    def plan(self) -> Plan:
        job = DistillationJob.model_validate(self.bench.manifest(**self.changes))
        return build_plan(job, self.uid, self.storage.uri)

    def assignment(self, stage: StageName, attempt: int = 1) -> Assignment:
        """Return the assignment, with what earlier stages have left as parents."""
        return Assignment(
            run=self.plan.run(stage).model_copy(update={"parents": list(self.parents)}),
            attempt=attempt,
            storage=self.storage,
            namespace=NAMESPACE,
            record=RECORD,
            reports=REPORTS,
            heartbeat_seconds=self.heartbeat,
        )

    def start(self, stage: StageName, attempt: int = 1) -> subprocess.Popen[str]:
        """Start the worker's process, its log in a file of the bench."""
        file = self.bench.folder / f"assignment-{stage}-{attempt}.json"
        file.write_text(self.assignment(stage, attempt).model_dump_json(by_alias=True))
        kubeconfig = self.bench.folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(kubeconfig_for(self.api.url)))
        environment = {
            "DISTILLERY_ASSIGNMENT": str(file),
            "DISTILLERY_FOLDER": str(self.bench.folder / "pod"),
            "KUBECONFIG": str(kubeconfig),
            **self.environment,
        }
        with self.log.open("a") as log:
            return children.start(
                [sys.executable, "-m", "distillery.worker"],
                stdout=log,
                stderr=log,
                text=True,
                env=os.environ | environment,
            )

    @property
    def log(self) -> Path:
        return self.bench.folder / "worker.log"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log of all processes; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def wait(self, process: subprocess.Popen[str]) -> Ended:
        """Wait for the end and return what this and earlier processes logged."""
        try:
            code = process.wait(children.PATIENCE)
        finally:
            children.end(process)
        return Ended(code, self.log.read_text())

    def run(self, stage: StageName, attempt: int = 1) -> Ended:
        """Run a stage and remember its result as a parent."""
        ended = self.wait(self.start(stage, attempt))
        result = self.last(stage, attempt).result
        if result is not None:
            parent = Parent(stage=stage, identity=result.identity, output_digest=result.output_digest)
            self.parents.append(parent)
        return ended

    def last(self, stage: StageName, attempt: int = 1) -> Report:
        """The report as it stands."""
        return Report.model_validate_json(self.api.maps[REPORTS][attempt_key(stage, attempt)])

    def reports(self, stage: StageName, attempt: int = 1) -> list[Report]:
        """Every report that was written."""
        return self.api.reports(attempt_key(stage, attempt))

    def tell_to_stop(self, stage: StageName, attempt: int = 1) -> None:
        """Write the record as the operator does."""
        run = self.plan.run(stage)
        entry = AttemptRecord(
            stage=stage,
            attempt=attempt,
            recipe=run.recipe,
            generation=1,
            name=f"tiny-{stage}-{attempt}",
            started_at=1.0,
            control="stop",
        )
        self.api.put(RECORD, entry.key, entry.dump())


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is true; fail if it takes far too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def kubeconfig_for(server: str) -> dict[str, Any]:
    """Return a kubeconfig that names the server and a token."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pod",
        "contexts": [{"name": "pod", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
    }

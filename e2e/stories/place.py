"""The cluster as the stories use it: kubectl, the operator by helm, a bucket, a teacher, jobs and what became of them.

Everything runs inside the cluster's network namespace, where pods, Services and the S3 server can be reached.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import children
from distillery.api.v1alpha1.status import Status
from distillery.artifacts.opening import open_location
from fake_teacher import read_bill
from tiny_job import manifest as tiny_manifest
from tiny_job import ticket

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "e2e/cluster"))

import crds  # noqa: E402

SUMMARY = Path(os.environ.get("DISTILLERY_E2E_STATE") or "/var/lib/distillery-e2e") / "cluster.json"
SYSTEM = "distillery-system"
TEACHER_KEY = "sk-planted-teacher-key-5d1f"
"""Planted: it must appear in no object, log, Event or artifact."""
ENDED = ("Succeeded", "GatesFailed", "Failed", "Stopped")
NODE = "10.213.0.1"


@dataclass
class Site:
    """One running cluster."""

    summary: dict[str, Any] = field(default_factory=lambda: json.loads(SUMMARY.read_text()))

    @property
    def s3(self) -> dict[str, str]:
        found: dict[str, str] = self.summary["s3"]
        return found

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run kubectl and return its output."""
        command = [self.summary["kubectl"], "--kubeconfig", self.summary["kubeconfig"], *words]
        done = children.run(command, input=text, timeout=600, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *words: str) -> Any:
        """Return what `kubectl get … -o json` prints."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def apply(self, *documents: dict[str, Any]) -> None:
        """Apply objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=text)

    def install_operator(self) -> None:
        """Install or upgrade the chart with the images of this checkout."""
        images = self.summary["images"]
        repository, _, tag = images["operator"].rpartition(":")
        crds.install(self.kubectl, ROOT / "crds")
        values = {
            "image.repository": repository,
            "image.tag": tag,
            "workerImage": images["worker"],
            "resources.requests.cpu": "20m",
        }
        settings = [word for key, value in values.items() for word in ("--set-string", f"{key}={value}")]
        command = [self.summary["helm"], "--kubeconfig", self.summary["kubeconfig"], "upgrade", "--install"]
        command += [
            "distillery",
            str(ROOT / "charts/distillery"),
            "--namespace",
            SYSTEM,
            "--create-namespace",
        ]
        children.run(
            [*command, "--wait", "--timeout", "180s", *settings],
            timeout=300,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def make_namespace(self, name: str) -> None:
        """Create a namespace that demands restricted pods, with the Secrets of a team."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
            secret(name, "s3-credentials", self.s3_keys()),
            secret(name, "teacher", {"api-key": TEACHER_KEY}),
        )

    def s3_keys(self) -> dict[str, str]:
        """Return the keys of the S3 server as a Secret holds them."""
        return {"AWS_ACCESS_KEY_ID": self.s3["accessKey"], "AWS_SECRET_ACCESS_KEY": self.s3["secretKey"]}

    def store(self, prefix: str) -> Any:
        """Open a prefix of the bucket from here."""
        keys = {("s3-credentials", key): value for key, value in self.s3_keys().items()}
        uri = f"s3://{self.s3['bucket']}/{prefix}"
        return open_location(uri, self.s3["endpoint"], "s3-credentials", _Given(keys))

    def wait(self, what: str, holds: Callable[[], Any], seconds: float = 120.0, pause: float = 1.0) -> Any:
        """Return the first true value of `holds`. Raises: AssertionError after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            found = holds()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.picture()}")
            time.sleep(pause)

    def picture(self) -> str:
        """Return what a person would look at when a story fails."""
        parts = [
            self.kubectl("get", "dj,rayjobs,rayclusters,pods", "-A", "-o", "wide", check=False),
            self.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp", check=False)[-4000:],
            self.kubectl(
                "-n", SYSTEM, "logs", "-l", "app.kubernetes.io/name=distillery", "--tail=30", check=False
            )[-6000:],
        ]
        return "\n".join(parts)


class _Given:
    """Secrets for opening a store from a test."""

    def __init__(self, values: dict[tuple[str, str], str]) -> None:
        self._values = values

    def optional(self, name: str, key: str) -> str | None:
        return self._values.get((name, key))

    def get(self, name: str, key: str) -> str:
        return self._values[name, key]


def secret(namespace: str, name: str, values: dict[str, str]) -> dict[str, Any]:
    """Return a Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def consistent(least: float) -> dict[str, Any]:
    """Return a `filter` section that drops answers which the teacher does not repeat often enough."""
    return {"rules": [{"format": {}}, {"length": {}}, {"consistency": {"minAgreement": least}}]}


@dataclass
class Teacher:
    """The fake teacher as a process of its own, on the node's address."""

    folder: Path
    url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def bill(self) -> list[dict[str, Any]]:
        """Return every call that was answered so far."""
        return read_bill(self.folder / "bill.jsonl")

    @contextmanager
    def running(self, *options: str, port: int = 0) -> Iterator[Teacher]:
        """Serve until the block ends."""
        command = [sys.executable, str(ROOT / "tests/fake_teacher.py"), "--host", NODE, "--port", str(port)]
        command += ["--bill", str(self.folder / "bill.jsonl"), "--api-key", TEACHER_KEY, *options]
        with children.running(command, stdout=subprocess.PIPE) as process:
            self.process = process
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 30)
            assert ready, "the teacher did not start"
            self.url = process.stdout.readline().decode().strip()
            yield self

    def fail_for(self, seconds: float) -> None:
        """Answer every call with status 500 for so long."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGUSR2)


@dataclass
class Job:
    """One DistillationJob in the cluster."""

    site: Site
    namespace: str
    name: str
    spec: dict[str, Any]
    teacher: Teacher | None = None

    @property
    def prefix(self) -> str:
        """Return the prefix of its storage in the bucket."""
        return str(self.spec["storage"]["uri"]).split("/", 3)[3]

    def document(self) -> dict[str, Any]:
        """Return the manifest."""
        metadata = {"name": self.name, "namespace": self.namespace}
        return {
            "apiVersion": "distillery.dev/v1alpha1",
            "kind": "DistillationJob",
            "metadata": metadata,
            "spec": self.spec,
        }

    def apply(self, **sections: Any) -> int:
        """Create it, or edit sections of its spec; return its generation."""
        self.spec = {**self.spec, **sections}
        self.site.apply(self.document())
        return int(self.read()["metadata"]["generation"])

    def read(self) -> dict[str, Any]:
        """Return the object."""
        found: dict[str, Any] = self.site.get("-n", self.namespace, "dj", self.name)
        return found

    def status(self) -> Status:
        """Return the status."""
        return Status.model_validate(self.read().get("status") or {})

    def ended(self, generation: int, seconds: float = 900.0) -> Status:
        """Wait for the end of a generation."""

        def end() -> Status | None:
            status = self.status()
            return status if status.phase in ENDED and status.observed_generation == generation else None

        found: Status = self.site.wait(f"the end of {self.name} generation {generation}", end, seconds)
        return found

    def reach(self, stage: str, seconds: float = 300.0, *, working: bool = True, done: int = 0) -> Status:
        """Wait until a stage runs; with `working`, until its worker has reported so many units as done."""

        def there() -> Status | None:
            status = self.status()
            found = next((s for s in status.stages if s.name == stage), None)
            assert found is None or found.state != "Succeeded", f"{stage} of {self.name} ended unseen"
            if found is None or found.state != "Running":
                return None
            reported = found.progress is not None and found.progress.done >= done
            return status if reported or not working else None

        found: Status = self.site.wait(f"{stage} of {self.name} at work", there, seconds, pause=0.3)
        return found

    def completed(self, stage: str, seconds: float) -> Status:
        """Wait until the artifact of a stage is there."""

        def there() -> Status | None:
            status = self.status()
            return status if any(s.name == stage and s.state == "Succeeded" for s in status.stages) else None

        found: Status = self.site.wait(f"the artifact of {stage} of {self.name}", there, seconds, pause=0.3)
        return found

    def annotate(self, **requests: str) -> None:
        """Ask for something."""
        words = [f"distillery.dev/{name.replace('_', '-')}={value}" for name, value in requests.items()]
        self.site.kubectl("-n", self.namespace, "annotate", "--overwrite", "dj", self.name, *words)

    def rayjobs(self, stage: str | None = None) -> list[dict[str, Any]]:
        """Return its RayJobs."""
        selector = f"distillery.dev/job-uid={self.read()['metadata']['uid']}"
        if stage:
            selector += f",distillery.dev/stage={stage}"
        found: list[dict[str, Any]] = self.site.get("-n", self.namespace, "rayjobs", "-l", selector)["items"]
        return found

    def pods(self, stage: str) -> list[dict[str, Any]]:
        """Return the pods of a stage."""
        selector = f"distillery.dev/job-uid={self.read()['metadata']['uid']},distillery.dev/stage={stage}"
        found: list[dict[str, Any]] = self.site.get("-n", self.namespace, "pods", "-l", selector)["items"]
        return found

    def record(self) -> dict[str, dict[str, Any]]:
        """Return the operator's record by attempt."""
        name = f"{self.name}-{self.read()['metadata']['uid'].replace('-', '')[:8]}-record"
        data = self.site.get("-n", self.namespace, "configmap", name).get("data") or {}
        return {key: json.loads(text) for key, text in data.items()}


class LogCollector:
    """Collects what the pods of a job log, and what Ray writes in them, as long as they live."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self.texts: dict[str, str] = {}

    def __enter__(self) -> LogCollector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _collect(self) -> None:
        job = self._job
        selector = f"distillery.dev/job={job.name}"
        while not self._over.wait(3.0):
            names = job.site.kubectl(
                "-n", job.namespace, "get", "pods", "-l", selector, "-o", "name", check=False
            )
            for name in names.split():
                logs = ("logs", name, "--all-containers", "--ignore-errors")
                files = (
                    "exec",
                    name,
                    "-c",
                    "ray-head",
                    "--",
                    "sh",
                    "-c",
                    "cat /tmp/ray/session_latest/logs/*",
                )
                for words in (logs, files):
                    text = job.site.kubectl("-n", job.namespace, *words, check=False)
                    key = f"{words[0]} of {name}"
                    self.texts[key] = max(text, self.texts.get(key, ""), key=len)


def small_job(
    site: Site, namespace: str, name: str, teacher: Teacher, prefix: str, rows: int = 200, epochs: int = 1
) -> Job:
    """Return a job of so many rows and one epoch, with worker pods for teacher and student."""
    source = f"{prefix}-source/tickets.jsonl"
    lines = "".join(json.dumps(ticket(number)) + "\n" for number in range(rows))
    site.store(f"{prefix}-source").put("tickets.jsonl", lines.encode())
    spec = tiny_manifest(teacher.url, Path("/unused"))["spec"]
    spec["storage"] = {
        "uri": f"s3://{site.s3['bucket']}/{prefix}",
        "endpoint": site.s3["endpoint"],
        "credentialsSecret": "s3-credentials",
    }
    spec["dataset"]["sources"] = [{"uri": f"s3://{site.s3['bucket']}/{source}"}]
    spec["teacher"]["endpoint"] = {"url": teacher.url, "apiKeySecret": {"name": "teacher", "key": "api-key"}}
    spec["teacher"] |= {"workers": {"replicas": 2}, "samples": {"extra": 2, "temperature": 0.7}}
    spec["student"] |= {"epochs": epochs, "workers": {"replicas": 2}}
    spec["evaluation"]["gates"] = {"retention": {"min": 0.05, "basis": "teacher"}}
    return Job(site, namespace, name, spec, teacher)

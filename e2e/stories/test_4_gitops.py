"""A job that lives in Git, under a real Argo CD with automated prune and self-heal.

The first story needs an API server only: the operator's part, the status, is written by hand with what planning
would write. The second runs on the whole cluster with the operator at work.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import crds
import pytest
from argocd_processes import CLUSTER, ArgoCD
from place import Job, Site, Teacher, consistent, small_job

import children
from argocd.endings import statuses
from distillery.api.dumping import dump_yaml
from distillery.api.v1alpha1.status import Status

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(5400),
    # Argo CD's processes are known by their pids and outlive the objects that started them.
    pytest.mark.filterwarnings("ignore:.*Popen:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning"),
]

NAMESPACE, JOB, APPLICATION = "support", "ticket-routing", "support-models"
QUIET_SECONDS = 120
CRDS = CLUSTER.parents[1] / "crds"
ANNOTATION = "distillery.dev/"

SPEC: dict[str, Any] = {
    "storage": {"uri": "s3://models/distillery", "credentialsSecret": "s3-credentials"},
    "task": {"output": {"format": "label", "labels": ["billing", "login", "refund"]}},
    "dataset": {"sources": [{"uri": "s3://logs/tickets.jsonl"}], "input": "{text}"},
    "teacher": {
        "model": "large-chat-model",
        "endpoint": {
            "url": "https://api.example.com/v1",
            "apiKeySecret": {"name": "teacher", "key": "api-key"},
        },
    },
    "filter": {"rules": [{"format": {}}, {"length": {"maxTokens": 64}}]},
    "student": {"base": {"uri": "s3://models/base"}},
    "evaluation": {"gates": {"retention": {"min": 0.95}}},
}


def wait(what: str, holds: Callable[[], Any], seconds: float = 90.0, show: Callable[[], Any] = str) -> Any:
    """Return the first true value of `holds`; fail with what is seen instead."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(1.0)
    raise AssertionError(f"{what}: not within {seconds:.0f} s; {show()}")


class Story:
    """One application with one job."""

    def __init__(self, argo: ArgoCD, manifest: dict[str, Any], quiet: float = QUIET_SECONDS) -> None:
        self.argo = argo
        self.quiet = quiet
        self.manifest = manifest
        self.namespace = manifest["metadata"]["namespace"]
        self.name = manifest["metadata"]["name"]

    def push(self, message: str, **sections: Any) -> None:
        """Commit the manifest with sections of its spec replaced."""
        self.manifest["spec"].update(sections)
        note = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "models-note"}}
        # An application that would become empty is never pruned: something else stays when the job goes.
        self.argo.commit({"job.yaml": dump_yaml(self.manifest), "note.yaml": dump_yaml(note)}, message)

    def job(self) -> dict[str, Any]:
        return self.argo.get("-n", self.namespace, "dj", self.name)

    def exists(self) -> bool:
        words = ("-n", self.namespace, "get", "dj", self.name, "--ignore-not-found", "-o", "name")
        return bool(self.argo.kubectl(*words).strip())

    def write_status(self, status: Status) -> None:
        """Be the operator: write a status for the object as it is."""
        job = self.job()
        value = {**status.to_wire(), "observedGeneration": job["metadata"]["generation"]}
        body = json.dumps({**job, "status": value})
        self.argo.kubectl("replace", "--subresource=status", "-f", "-", text=body)

    def see(self, health: str, message: str = "", seconds: float = 90.0) -> None:
        """Wait until Argo CD says so of the job, and that nothing differs from Git."""

        def holds() -> bool:
            state = self.argo.state(APPLICATION)
            right = state["job"] == health and state["message"].startswith(message)
            return right and state["sync"] == "Synced"

        wait(f"{health} {message}", holds, seconds, lambda: self.argo.state(APPLICATION))

    def act(self, action: str) -> str:
        """Run one of the job's actions as `argocd app actions run` does; return the annotation's value."""
        before = self.job()["metadata"].get("annotations", {})
        words = ("app", "actions", "run", APPLICATION, action, "--kind", "DistillationJob")
        self.argo.cli(*words, "--resource-name", self.name)
        after = self.job()["metadata"]["annotations"]
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        assert len(changed) == 1, changed
        return str(next(iter(changed.values())))

    def offered(self) -> list[str]:
        words = ("app", "actions", "list", APPLICATION, "--kind", "DistillationJob", "-o", "json")
        return sorted(item["Action"] for item in json.loads(self.argo.cli(*words)))

    def stays_as_it_is(self, objects: Callable[[], dict[str, str]]) -> None:
        """Look again and again for a while: nobody writes to our objects."""
        wait("the operator's last note", self.settled)
        before, ends = objects(), time.monotonic() + self.quiet
        while time.monotonic() < ends:
            self.argo.refresh(APPLICATION)
            time.sleep(10)
            assert objects() == before

    def settled(self) -> bool:
        """Say whether the record has the end of every attempt, which comes when its last pod is gone."""
        selector = f"distillery.dev/job-uid={self.job()['metadata']['uid']}"
        maps = self.argo.get("-n", self.namespace, "configmaps", "-l", selector)["items"]
        records = [m.get("data") or {} for m in maps if m["metadata"]["name"].endswith("-record")]
        return all("endedAt" in json.loads(text) for data in records for text in data.values())

    def versions(self) -> dict[str, str]:
        """Return the resource versions of the job and of its ConfigMaps."""
        job = self.job()["metadata"]
        selector = f"distillery.dev/job-uid={job['uid']}"
        maps = self.argo.get("-n", self.namespace, "configmaps", "-l", selector)["items"]
        return {item["name"]: item["resourceVersion"] for item in (job, *(m["metadata"] for m in maps))}


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real API server of our own with our CRDs, and nobody who looks after our kinds."""
    folder = tmp_path_factory.mktemp("api")
    program = str(CLUSTER / "apiserver")
    done = children.run(
        [program, "start", "--dir", str(folder)],
        timeout=900,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    yield Path(done.stdout.strip())
    children.run([program, "stop", "--dir", str(folder)], check=True)


@pytest.fixture
def by_hand(api_server: Path, tmp_path: Path) -> Iterator[Story]:
    argo = ArgoCD(tmp_path / "argocd", api_server)
    crds.install(argo.kubectl, CRDS)
    argo.kubectl("create", "namespace", NAMESPACE)
    argo.start()
    metadata = {"name": JOB, "namespace": NAMESPACE}
    header = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationJob"}
    yield Story(argo, {**header, "metadata": metadata, "spec": dict(SPEC)})
    argo.stop()


@pytest.mark.full
def test_argo_cd_reads_the_status_acts_by_annotation_and_leaves_a_finished_job_alone(by_hand: Story) -> None:
    story, written = by_hand, statuses()
    story.push("a job")
    story.argo.application(APPLICATION, NAMESPACE)
    wait("the job is created", story.exists, show=lambda: story.argo.state(APPLICATION))
    story.see("Progressing", "waiting for the operator")

    story.write_status(written["running-teacher"])
    story.see("Progressing", "teacher, 24 %: StageRunning: teacher attempt 1 is running")
    assert story.offered() == ["cancel", "rerun-dataset", "suspend"]
    suspended = story.act("suspend")
    story.write_status(with_handled(written["suspended"], "suspend-requested-at", suspended))
    story.see("Suspended", "Suspended: suspended on request")
    assert story.offered() == ["cancel", "rerun-dataset", "resume"]
    story.act("resume")

    story.write_status(written["review-pending"])
    story.see("Suspended", "ReviewPending: ")
    stages = story.job()["status"]["stages"]
    assert story.act("approve-review") == next(s["identity"] for s in stages if s["name"] == "filter")

    story.write_status(written["gates-failed"])
    story.see("Degraded", "GateFailed: the evaluation's verdict is failed")
    assert story.act("rerun-student").endswith("Z/student")

    story.push("another filter", filter={"rules": [{"format": {}}]})
    story.argo.refresh(APPLICATION)
    wait("the edit arrives", lambda: story.job()["metadata"]["generation"] == 2)
    story.see("Progressing", "waiting for the operator to see the edit")
    assert {f"{ANNOTATION}suspend-requested-at", f"{ANNOTATION}rerun-requested-at"} <= set(
        story.job()["metadata"]["annotations"]
    )

    story.write_status(written["complete"])
    story.see("Healthy", "every gate has passed")
    assert story.argo.state(APPLICATION)["application"] == "Healthy"
    story.stays_as_it_is(story.versions)

    story.argo.commit({"job.yaml": None}, "no job any more")
    story.argo.refresh(APPLICATION)
    # Argo CD deletes in the foreground; without a garbage collector the object stays, marked as deleted.
    wait("the job is pruned", lambda: "deletionTimestamp" in story.job()["metadata"])


def with_handled(status: Status, request: str, value: str) -> Status:
    return status.model_copy(update={"handled": {**status.handled, request: value}})


@pytest.fixture(params=["adopted", pytest.param("from scratch", marks=pytest.mark.full)])
def on_cluster(
    request: pytest.FixtureRequest, site: Site, team: str, teacher: Teacher, first_job: Job, tmp_path: Path
) -> Iterator[Story]:
    """A job in Git over the store of the first story, which has its work, or over an empty one."""
    import config

    adopted = request.param == "adopted"
    prefix = first_job.prefix if adopted else f"gitops-{os.urandom(3).hex()}"
    job = small_job(site, team, "in-git", teacher, prefix)
    argo = ArgoCD(tmp_path / "argocd", config.KUBECONFIG, config.NETNS)
    argo.start()
    yield Story(argo, job.document(), quiet=30.0 if adopted else QUIET_SECONDS)
    argo.kubectl("-n", "argocd", "delete", "application", APPLICATION, "--ignore-not-found")
    argo.kubectl("-n", team, "delete", "dj", job.name, "--ignore-not-found")
    argo.stop()


def test_a_job_in_git_is_run_edited_suspended_and_judged(on_cluster: Story) -> None:
    story = on_cluster
    story.push("a job")
    story.argo.application(APPLICATION, story.namespace)
    wait("the job is created", story.exists, show=lambda: story.argo.state(APPLICATION))
    story.see("Progressing")
    story.see("Healthy", seconds=1800)
    first = stages_of(story.job())
    story.stays_as_it_is(story.versions)

    story.push("another filter", filter=consistent(1.0))
    story.argo.refresh(APPLICATION)
    wait("the student runs", lambda: running(story.job(), "student"), 900, lambda: story.job()["status"])
    story.act("suspend")
    story.see("Suspended", seconds=300)
    story.act("resume")
    story.see("Healthy", seconds=1800)
    second = stages_of(story.job())
    changed = [name for name in first if first[name]["identity"] != second[name]["identity"]]
    assert changed == ["filter", "student", "evaluation"]
    again = [name for name in first if first[name]["attempt"] != second[name]["attempt"]]
    assert again == changed

    gates = {"retention": {"min": 0.99, "basis": "teacher"}}
    story.push("an impossible gate", evaluation={**story.manifest["spec"]["evaluation"], "gates": gates})
    story.argo.refresh(APPLICATION)
    story.see("Degraded", "GateFailed: ", seconds=900)
    story.stays_as_it_is(story.versions)


def stages_of(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in job["status"]["stages"]}


def running(job: dict[str, Any], stage: str) -> bool:
    current = job["status"]["observedGeneration"] == job["metadata"]["generation"]
    return current and stages_of(job).get(stage, {}).get("state") == "Running"

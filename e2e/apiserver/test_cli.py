"""The cluster verbs of the command line against a real API server; the test plays the operator."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.api.dumping import dump_yaml
from distillery.api.yaml import load_yaml
from distillery.kube.resources import DISTILLATION_JOBS
from distillery.planning.control import control_of
from kube.apiserver import ROOT, ApiServer, install_kinds, kubectl
from tiny_job import manifest

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]

NAME = "distillationjob.distillery.dev/tiny"
WHEN = "2026-11-03T12:30:00Z"


@dataclass(frozen=True, slots=True)
class Shell:
    """The command line in one namespace of a cluster."""

    server: ApiServer
    namespace: str
    kubeconfig: Path

    def command(self, *arguments: str) -> list[str]:
        shell = [sys.executable, "-m", "distillery", *arguments]
        return [*shell, "--kubeconfig", str(self.kubeconfig), "-n", self.namespace]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = children.run(self.command(*arguments), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def submit(self, file: Path, *flags: str) -> str:
        code, out, err = self.run("submit", str(file), *flags)
        assert (code, err) == (0, "")
        return out.strip()

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with children.running(
            self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            yield process

    def stored(self) -> Any:
        return self.server.act(lambda kube: kube.get(DISTILLATION_JOBS, "tiny", self.namespace))

    def write_status(self, status: dict[str, Any]) -> None:
        """Do what the operator does."""
        self.server.act(
            lambda kube: kube.merge(
                DISTILLATION_JOBS, "tiny", {"status": status}, self.namespace, subresource="status"
            )
        )


@pytest.fixture
def shell(apiserver: ApiServer, namespace: str) -> Shell:
    return Shell(apiserver, namespace, apiserver.kubeconfig)


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    (tmp_path / "job.yaml").write_text(dump_yaml(job()))
    return tmp_path / "job.yaml"


def job() -> dict[str, Any]:
    body = manifest("http://teacher.test/v1", Path("/x"), storage={"uri": "s3://models/tiny"})
    body["spec"]["dataset"]["sources"] = [{"uri": "s3://logs/tickets.jsonl"}]
    return body


def ended(kind: str, reason: str, message: str) -> list[dict[str, str]]:
    common = {"reason": reason, "message": message, "lastTransitionTime": WHEN}
    return [
        {"type": kind, "status": "True", **common},
        {"type": "Reconciling", "status": "False", **common},
    ]


def test_a_manifest_arrives_as_written_and_changes_are_told(shell: Shell, job_file: Path) -> None:
    changed = ("--set", "spec.teacher.model=other")
    assert shell.submit(job_file, "--dry-run") == f"{NAME} created (server dry run)"
    assert shell.server.act(lambda kube: kube.find(DISTILLATION_JOBS, "tiny", shell.namespace)) is None
    assert shell.submit(job_file) == f"{NAME} created"
    spec = shell.stored()["spec"]
    for section, fields in job()["spec"].items():
        assert fields.items() <= spec[section].items() or section in ("teacher", "student", "dataset")
    for _ in range(3):
        assert shell.submit(job_file) == f"{NAME} unchanged"
    assert shell.submit(job_file, *changed, "--dry-run") == f"{NAME} configured (server dry run)"
    assert shell.stored()["spec"] == spec
    assert shell.submit(job_file, *changed) == f"{NAME} configured"
    assert shell.stored()["spec"]["teacher"]["model"] == "other"


def test_a_field_taken_out_of_the_manifest_goes_away(shell: Shell, job_file: Path) -> None:
    shell.submit(job_file, "--set", "spec.teacher.revision=2026-11")
    assert shell.stored()["spec"]["teacher"]["revision"] == "2026-11"
    shell.submit(job_file)
    assert "revision" not in shell.stored()["spec"]["teacher"]


def test_requests_survive_another_submit(shell: Shell, job_file: Path) -> None:
    shell.submit(job_file)
    assert shell.run("cancel", "tiny")[0] == 0
    annotations = shell.stored()["metadata"]["annotations"]
    shell.submit(job_file)
    assert shell.stored()["metadata"]["annotations"] == annotations
    assert control_of(annotations, False, {}, time.time()).cancelled


def test_a_field_of_another_manager_is_not_taken_over_unasked(shell: Shell, job_file: Path) -> None:
    shell.submit(job_file)
    patch = json.dumps({"spec": {"teacher": {"model": "edited"}}})
    flags = ("--type=merge", "-p", patch, "--field-manager", "someone", "-n", shell.namespace)
    kubectl(shell.server, "patch", "dj", "tiny", *flags)
    code, _, err = shell.run("submit", str(job_file))
    assert code == 1
    assert 'conflict with "someone"' in err
    assert ".spec.teacher.model" in err
    assert shell.submit(job_file, "--force-conflicts") == f"{NAME} configured"


def test_a_namespace_that_is_missing_is_named(shell: Shell, job_file: Path) -> None:
    code, _, err = replace(shell, namespace="nowhere").run("submit", str(job_file))
    assert (code, err.split(" → ")[0]) == (1, "error: namespace nowhere does not exist")


def test_waiting_for_a_request_ends_when_it_is_latched(shell: Shell, job_file: Path) -> None:
    shell.submit(job_file)
    with shell.running("suspend", "tiny", "--wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("tiny: distillery.dev/suspend-requested-at: ")
        handled = dict(control_of(shell.stored()["metadata"]["annotations"], False, {}, time.time()).handled)
        shell.write_status({"phase": "Suspended", "handled": handled})
        assert process.communicate(timeout=children.PATIENCE) == ("tiny: Suspended\n", "")
        assert process.returncode == 0


def test_following_a_job_ends_as_it_ends(shell: Shell, job_file: Path) -> None:
    with shell.running("submit", str(job_file), "--wait") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{NAME} created\n"
        stages = [{"name": "dataset", "state": "Running", "attempt": 1}]
        shell.write_status({"observedGeneration": 1, "phase": "Running", "stages": stages})
        assert process.stdout.readline().endswith("▸ dataset    running\n")
        bad = ended("Stalled", "GateFailed", "the verdict is failed")
        shell.write_status({"phase": "GatesFailed", "conditions": bad})
        out, err = process.communicate(timeout=children.PATIENCE)
    assert (process.returncode, err) == (3, "")
    assert "not released: the verdict is failed" in out
    code, out, _ = shell.run("status", "tiny", "-o", "json")
    assert (code, json.loads(out)["phase"]) == (0, "GatesFailed")


def test_a_missing_right_is_named_with_its_role(shell: Shell, job_file: Path, tmp_path: Path) -> None:
    shell.submit(job_file)
    kubectl(shell.server, "apply", "-f", str(rights_of_a_reader(shell, tmp_path)))
    token = kubectl(shell.server, "create", "token", "reader", "-n", shell.namespace).strip()
    config = load_yaml(shell.kubeconfig.read_bytes(), "kubeconfig")
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    (tmp_path / "limited").write_text(json.dumps(config))
    limited = replace(shell, kubeconfig=tmp_path / "limited")
    assert limited.run("status", "tiny")[0] == 0
    code, _, err = limited.run("cancel", "tiny")
    role = f"a Role in namespace {shell.namespace}"
    assert code == 1
    assert err.endswith(f" → ask for {role} that allows to patch distillationjobs.distillery.dev\n")
    code, out, err = limited.run("cost", "tiny")
    assert (code, out.splitlines()[0]) == (0, "estimated  –")
    assert err == f"note: no attempts are shown: you may not get ConfigMaps in namespace {shell.namespace}\n"


def rights_of_a_reader(shell: Shell, folder: Path) -> Path:
    """Write what makes a ServiceAccount that may only look at jobs."""
    metadata = {"name": "reader", "namespace": shell.namespace}
    rbac = "rbac.authorization.k8s.io"
    rule = {"apiGroups": ["distillery.dev"], "resources": ["distillationjobs"], "verbs": ["get", "list"]}
    items = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [{"kind": "ServiceAccount", **metadata}],
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "reader"},
        },
    ]
    (folder / "rights.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return folder / "rights.json"


def test_a_cluster_without_our_crds_or_with_older_ones_is_told(job_file: Path, tmp_path: Path) -> None:
    server = ApiServer(tmp_path / "server")
    server.start()
    try:
        shell = Shell(server, "default", server.kubeconfig)
        repair = "install distillery as docs/install.md describes"
        said = f"error: the cluster does not know DistillationJobs → {repair}\n"
        assert shell.run("status", "tiny") == (1, "", said)
        server.act(lambda kube: install_kinds(kube, [older_crd(tmp_path)]))
        flags = ("--set", "spec.teacher.revision=2026-11")
        code, out, err = shell.run("submit", str(job_file), *flags)
        assert (code, out) == (2, "")
        assert "the API server refuses it" in err
        assert ".spec.teacher.revision" in err
        assert server.act(lambda kube: kube.list(DISTILLATION_JOBS)) == []
        assert shell.submit(job_file) == f"{NAME} created"
    finally:
        server.stop()


def older_crd(folder: Path) -> Path:
    """Write our CRD as before `teacher.revision` came."""
    file = ROOT / "crds" / "distillery.dev_distillationjobs.yaml"
    definition = load_yaml(file.read_bytes(), file.name)
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["teacher"]["properties"]["revision"]
    (folder / "older.json").write_text(json.dumps(definition))
    return folder / "older.json"

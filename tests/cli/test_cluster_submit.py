"""`distillery submit`: what is sent, what is said, how waiting ends."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from distillery.api.dumping import dump_yaml
from tiny_job import manifest

S3 = {"uri": "s3://models/tiny"}


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    return write(tmp_path)


def written(**changes: Any) -> dict[str, Any]:
    changes = {"storage": S3, **changes}
    job = manifest("http://teacher.test/v1", Path("/data/tickets.jsonl"), **changes)
    job["spec"]["dataset"]["sources"] = [{"uri": "s3://logs/tickets.jsonl"}]
    return job


def write(folder: Path, metadata: dict[str, Any] | None = None, **changes: Any) -> Path:
    job = written(**changes)
    job["metadata"] |= metadata or {}
    (folder / "job.yaml").write_text(dump_yaml(job))
    return folder / "job.yaml"


def condition(kind: str, reason: str, message: str, status: str = "True") -> dict[str, str]:
    when = "2026-11-03T12:30:00Z"
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": when}


def ending(phase: str, kind: str, reason: str, message: str) -> dict[str, Any]:
    conditions = [condition(kind, reason, message), condition("Reconciling", reason, message, "False")]
    return {"observedGeneration": 1, "phase": phase, "conditions": conditions}


def test_the_manifest_is_applied_strictly_in_the_context_s_namespace(
    cluster: Any, distillery: Any, tmp_path: Path
) -> None:
    file = write(tmp_path, {"labels": {"team": "support"}, "annotations": {"note": "x"}, "uid": "old"})
    done = distillery("submit", str(file), "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.out) == (0, "distillationjob.distillery.dev/tiny created\n")
    method, path, query, body = cluster.asked[-1]
    assert (method, path) == (
        "PATCH",
        "/apis/distillery.dev/v1alpha1/namespaces/team-a/distillationjobs/tiny",
    )
    assert query == {"fieldManager": "distillery", "fieldValidation": "Strict", "force": "false"}
    assert body == {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "DistillationJob",
        "metadata": {
            "name": "tiny",
            "namespace": "team-a",
            "labels": {"team": "support"},
            "annotations": {"note": "x"},
        },
        "spec": written()["spec"],
    }


def test_submitting_again_says_what_changed(cluster: Any, distillery: Any, job_file: Path) -> None:
    def submit(*flags: str) -> str:
        done = distillery("submit", str(job_file), "--kubeconfig", cluster.kubeconfig, *flags)
        assert done.code == 0
        return done.out

    name = "distillationjob.distillery.dev/tiny"
    changed = ("--set", "spec.teacher.model=other")
    assert submit() == f"{name} created\n"
    assert submit() == f"{name} unchanged\n"
    assert submit(*changed, "--dry-run") == f"{name} configured (server dry run)\n"
    assert submit() == f"{name} unchanged\n"
    assert json.loads(submit(*changed, "-o", "json")) == {
        "type": "submitted",
        "change": "configured",
        "dryRun": False,
        "name": "tiny",
        "namespace": "team-a",
        "uid": "tiny-uid",
        "generation": 2,
    }


def test_an_invalid_manifest_fails_as_validate_does_and_never_reaches_the_cluster(
    cluster: Any, distillery: Any, tmp_path: Path
) -> None:
    file = write(tmp_path, teacher={"model": "m", "endpont": {"url": "http://x"}})
    submitted = distillery("submit", str(file), "--kubeconfig", cluster.kubeconfig)
    validated = distillery("validate", str(file))
    assert (submitted.code, submitted.out, submitted.err) == (2, "", validated.err)
    assert "endpont" in submitted.err
    assert cluster.asked == []


def test_several_objects_in_a_file_are_refused(cluster: Any, distillery: Any, job_file: Path) -> None:
    job_file.write_text(f"{job_file.read_text()}---\nkind: Service\n")
    done = distillery("submit", str(job_file), "--kubeconfig", cluster.kubeconfig)
    assert done.code == 2
    assert "a second document begins here (`---`) → write one object per file" in done.err


def test_files_of_this_machine_are_refused_by_field(cluster: Any, distillery: Any, tmp_path: Path) -> None:
    file = write(tmp_path, storage={"uri": "file://store"})
    done = distillery("submit", str(file), "--kubeconfig", cluster.kubeconfig)
    why = "is relative to the manifest's folder, which no pod can read"
    repair = "put the data where the cluster reads it: s3://…"
    assert (done.code, done.err) == (2, f"error: {file}: spec.storage.uri: {why} → {repair}\n")
    assert cluster.asked == []


def test_the_option_must_not_contradict_the_manifest_s_namespace(
    cluster: Any, distillery: Any, tmp_path: Path
) -> None:
    file = write(tmp_path, {"namespace": "support"})
    assert distillery("submit", str(file), "--kubeconfig", cluster.kubeconfig).code == 0
    assert cluster.asked[-1][1].split("/")[5] == "support"
    done = distillery("submit", str(file), "--kubeconfig", cluster.kubeconfig, "-n", "team-b")
    why = "the manifest belongs to namespace support, not to team-b"
    assert (done.code, done.err) == (
        2,
        f"error: --namespace: {why} → use -n support or edit metadata.namespace\n",
    )


def answer(code: int, reason: str, message: str, **details: str) -> Any:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return lambda: web.json_response(body, status=code)


REFUSALS = {
    "status 400": (400, "BadRequest", 'strict decoding error: unknown field "spec.profile"'),
    "status 422": (422, "Invalid", 'DistillationJob.distillery.dev "tiny" is invalid: spec.teacher: no'),
    "status 500": (
        500,
        "",
        "failed to create typed patch object: .spec.profile: field not declared in schema",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_api_server_finds_wrong_is_invalid_input(
    name: str, cluster: Any, distillery: Any, job_file: Path
) -> None:
    code, reason, words = REFUSALS[name]
    cluster.answers["PATCH", "distillationjobs"] = answer(code, reason, words)
    done = distillery("submit", str(job_file), "--kubeconfig", cluster.kubeconfig)
    said = f"{code} {words}" if code == 500 else words
    assert (done.code, done.err) == (2, f"error: {job_file}: the API server refuses it: {said}\n")


def test_fields_of_another_manager_are_not_taken_over_unasked(
    cluster: Any, distillery: Any, job_file: Path
) -> None:
    words = 'Apply failed with 1 conflict: conflict with "argocd-controller": .spec.teacher.model'
    cluster.answers["PATCH", "distillationjobs"] = answer(409, "Conflict", words)
    done = distillery("submit", str(job_file), "--kubeconfig", cluster.kubeconfig)
    repair = "edit it where it is managed, or take the fields over with --force-conflicts"
    assert (done.code, done.err) == (1, f"error: {words} → {repair}\n")
    cluster.answers.clear()
    assert (
        distillery("submit", str(job_file), "--force-conflicts", "--kubeconfig", cluster.kubeconfig).code == 0
    )
    assert cluster.asked[-1][2]["force"] == "true"


def test_a_missing_namespace_and_a_missing_crd_are_named(
    cluster: Any, distillery: Any, job_file: Path
) -> None:
    words = 'namespaces "team-a" not found'
    cluster.answers["PATCH", "distillationjobs"] = answer(404, "NotFound", words, name="team-a")
    done = distillery("submit", str(job_file), "--kubeconfig", cluster.kubeconfig)
    repair = "create it (kubectl create namespace team-a) or name another with -n"
    assert (done.code, done.err) == (1, f"error: namespace team-a does not exist → {repair}\n")
    cluster.answers["GET", "distillationjobs"] = lambda: web.Response(text="404 page not found", status=404)
    done = distillery("submit", str(job_file), "--kubeconfig", cluster.kubeconfig)
    repair = "install distillery as docs/install.md describes"
    assert (done.code, done.err) == (
        1,
        f"error: the cluster does not know DistillationJobs → {repair}\n",
    )


ENDINGS = {
    "complete": (0, ending("Succeeded", "Ready", "GatesPassed", "every gate has passed")),
    "gates failed": (3, ending("GatesFailed", "Stalled", "GateFailed", "the verdict is failed")),
    "budget": (4, ending("Stopped", "Stalled", "BudgetReached", "raise budget.maxCost")),
    "cancelled": (4, ending("Stopped", "Stalled", "Cancelled", "cancelled on request")),
    "failed": (1, ending("Failed", "Stalled", "Diverged", "the loss is not finite")),
    "invalid": (2, ending("Failed", "Stalled", "InvalidInput", "tickets.jsonl:3: no JSON")),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_waiting_ends_with_the_job_and_its_exit_status(
    name: str, cluster: Any, distillery: Any, job_file: Path
) -> None:
    code, last = ENDINGS[name]

    def operator(job: Any) -> list[Any]:
        running = {
            "observedGeneration": 1,
            "phase": "Running",
            "conditions": [condition("Reconciling", "WaitingForPods", "no node has a free GPU")],
            "stages": [{"name": "dataset", "state": "Running", "attempt": 1}],
        }
        return [{**job, "status": running}, {**job, "status": running}, {**job, "status": last}]

    cluster.operator = operator
    done = distillery("submit", str(job_file), "--wait", "--kubeconfig", cluster.kubeconfig)
    said = [line.split("  ", 1)[-1] for line in done.out.splitlines()]
    headlines = {0: "complete", 1: "failed", 2: "invalid input", 3: "not released", 4: "stopped"}
    assert (done.code, done.err) == (code, "")
    assert said == [
        "distillationjob.distillery.dev/tiny created",
        "▸ dataset    running",
        "WaitingForPods: no node has a free GPU",
        "",
        f"{headlines[code]}: {last['conditions'][0]['message']}",
        "     –",
        "    distillery status tiny -n team-a --kubeconfig " + cluster.kubeconfig,
    ]


def test_the_status_of_an_older_generation_ends_nothing(
    cluster: Any, distillery: Any, job_file: Path
) -> None:
    done = ENDINGS["failed"][1]
    cluster.job(spec={"task": {}}, status=done)

    def operator(job: Any) -> list[Any]:
        fresh = copy.deepcopy(ENDINGS["complete"][1])
        return [{**job, "status": done}, {**job, "status": {**fresh, "observedGeneration": 2}}]

    cluster.operator = operator
    ran = distillery("submit", str(job_file), "--wait", "-o", "json", "--kubeconfig", cluster.kubeconfig)
    assert ran.code == 0
    assert [event["type"] for event in ran.events if event["type"] != "progress"] == ["submitted", "finished"]
    assert ran.status["phase"] == "Succeeded"


def test_a_deleted_job_ends_waiting(cluster: Any, distillery: Any, job_file: Path) -> None:
    def operator(job: Any) -> list[Any]:
        return [{**job, "metadata": {**job["metadata"], "uid": "another"}}]

    cluster.operator = operator
    done = distillery("submit", str(job_file), "--wait", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.err) == (1, "error: tiny was deleted in the meantime\n")


def test_workers_smaller_than_ray_needs_are_a_warning_when_validating_and_submitting(
    cluster: Any, distillery: Any, tmp_path: Path
) -> None:
    teacher = written()["spec"]["teacher"] | {"workers": {"resources": {"cpu": "100m"}}}
    file = write(tmp_path, teacher=teacher)
    warning = (
        f"{file}: warning: spec.teacher.workers.resources.cpu: 100m is little: on a busy node Ray does not start"
        " before its probes give up → write at least 250m\n"
    )
    done = distillery("validate", str(file))
    assert (done.code, done.err) == (0, warning)
    assert done.out.endswith(" is valid\n")
    sent = distillery("submit", str(file), "--kubeconfig", cluster.kubeconfig)
    assert (sent.code, sent.err) == (0, warning)

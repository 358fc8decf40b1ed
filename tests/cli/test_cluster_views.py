"""`distillery status`, `cost` and `logs` on a cluster, and which target a word means."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import children
from distillery.api.dumping import dump_yaml
from distillery.manifests.configmap import record_map
from distillery.planning.record import AttemptRecord, JobRef
from distillery.stages.stage import StageName

STATUS = {
    "observedGeneration": 1,
    "phase": "Running",
    "progress": {"percent": 41.5, "stage": "teacher", "message": "asking"},
    "stages": [
        {"name": "dataset", "state": "Succeeded", "attempt": 1, "summary": {"rows": 240}},
        {"name": "teacher", "state": "Running", "attempt": 2, "progress": {"done": 10, "total": 50}},
    ],
    "cost": {"estimated": "12.00", "spent": "3.25", "unknown": "0.10", "budget": "20.00", "gpuHours": 1.5},
}
TABLE = """Running: asking
   stage    state      progress
✓  dataset  succeeded  rows 240
▸  teacher  running    10/50 rows
42 %, spent 3.25 USD of about
12.00 USD
"""


def shown(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_the_status_of_a_job_looks_like_that_of_a_local_run(cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    done = distillery("status", "tiny", "--kubeconfig", cluster.kubeconfig)
    Path("work").mkdir()
    Path("work/status.yaml").write_text(dump_yaml(STATUS))
    local = distillery("status", "work")
    assert (done.code, shown(done.out)) == (0, TABLE.splitlines())
    assert (local.code, local.out, local.err) == (0, done.out, done.err)


def test_what_is_wrong_with_the_pods_of_a_running_stage_is_shown_too(cluster: Any, distillery: Any) -> None:
    message = (
        "teacher attempt 2 is running; pod w: Unschedulable: 3 Insufficient nvidia.com/gpu; 1 of its pods"
    )
    running = {
        "type": "Reconciling",
        "status": "True",
        "reason": "StageRunning",
        "message": message,
        "lastTransitionTime": "2026-11-03T12:30:00Z",
    }
    cluster.job(status={**STATUS, "conditions": [running]})
    done = distillery("status", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert done.code == 0
    assert " ".join(done.out.split()).endswith(
        "pod w: Unschedulable: 3 Insufficient nvidia.com/gpu; 1 of its pods"
    )


RELEASE = {"name": "ticket-router", "version": "0123456789ab", "uri": "s3://models/d/models/ticket-router/01"}
REPORT = "s3://models/distillery/artifacts/evaluation/0123456789abcdef/data/a-random-writer/report.html"
FINISHED = {**STATUS, "phase": "Succeeded", "evaluation": {"report": REPORT}, "release": RELEASE}
RELEASED = "released    ticket-router 0123456789ab → s3://models/d/models/ticket-router/01"


def test_a_finished_job_says_where_its_report_and_its_student_are(cluster: Any, distillery: Any) -> None:
    cluster.job(status=FINISHED)
    done = distillery("status", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert shown(done.out)[-2:] == [f"report      {REPORT}", RELEASED]


def test_a_finished_local_run_names_its_own_copy_of_the_report(distillery: Any) -> None:
    Path("work").mkdir()
    Path("work/status.yaml").write_text(dump_yaml(FINISHED))
    assert shown(distillery("status", "work").out)[-2:] == [f"report      {REPORT}", RELEASED]
    Path("work/report.html").write_text("<html>")
    assert shown(distillery("status", "work").out)[-2:] == ["report      work/report.html", RELEASED]


def test_a_report_of_an_earlier_run_is_not_taken_for_one_of_this(distillery: Any) -> None:
    Path("work").mkdir()
    Path("work/status.yaml").write_text(dump_yaml(STATUS))
    Path("work/report.html").write_text("<html>")
    assert "report" not in distillery("status", "work").out


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_the_status_comes_whole_for_programs(output: str, cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    done = distillery("status", "tiny", "-o", output, "--kubeconfig", cluster.kubeconfig)
    Path("work").mkdir()
    Path("work/status.yaml").write_text(done.out if output == "yaml" else dump_yaml(json.loads(done.out)))
    assert done.out == distillery("status", "work", "-o", output).out
    assert json.loads(distillery("status", "work", "-o", "json").out)["cost"] == {
        **STATUS["cost"],
        "currency": "USD",
    }


def test_a_job_that_nobody_has_looked_at_says_so(cluster: Any, distillery: Any) -> None:
    cluster.job()
    done = distillery("status", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, shown(done.out)[0]) == (0, "Pending:")
    assert done.err == "note: the operator has not looked at generation 1 yet\n"


def test_watching_ends_with_the_job(cluster: Any, distillery: Any) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "GatesPassed", "message": "every gate has passed"}
    conditions = [{**ready, "lastTransitionTime": "2026-11-03T12:30:00Z"}]
    cluster.job(status={**FINISHED, "conditions": conditions})
    done = distillery("status", "tiny", "--watch", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.out.splitlines()[-6:]) == (
        0,
        [
            "",
            "complete: every gate has passed",
            f"report      {REPORT}",
            RELEASED,
            "spent       3.25 USD + at most 0.1000 USD for calls lost in a crash",
            f"status      distillery status tiny -n team-a --kubeconfig {cluster.kubeconfig}",
        ],
    )


def test_a_status_of_a_newer_operator_is_no_traceback(cluster: Any, distillery: Any) -> None:
    cluster.job(status={"phase": "Dreaming"})
    done = distillery("status", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.err) == (
        1,
        "error: status.phase is not understood → install a newer distillery\n",
    )


def test_an_unknown_name_is_answered_with_similar_ones(cluster: Any, distillery: Any) -> None:
    cluster.job("ticket-routing")
    cluster.job("unrelated")
    done = distillery("status", "ticket-ruoting", "--kubeconfig", cluster.kubeconfig)
    why = "no DistillationJob ticket-ruoting in namespace team-a"
    assert (done.code, done.err) == (1, f"error: {why} → did you mean ticket-routing?\n")
    done = distillery("cost", "zzz", "--kubeconfig", cluster.kubeconfig)
    assert done.err.endswith("→ there are ticket-routing, unrelated\n")


def test_an_unknown_name_of_another_namespace_is_found(cluster: Any, distillery: Any) -> None:
    cluster.job(namespace="team-b")
    done = distillery("status", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert done.err.endswith("→ there is one in team-b: add -n team-b\n")


def test_a_word_is_a_folder_that_is_here_else_a_job(
    cluster: Any, distillery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", cluster.kubeconfig)
    cluster.job(status=STATUS)
    assert shown(distillery("status", "tiny").out)[0] == "Running: asking"
    Path("tiny").mkdir()
    done = distillery("status", "tiny")
    both = (
        "name the workdir of a run (.distillery/<name>), or add -n NAMESPACE if you mean the job of that name"
    )
    assert (done.code, done.err) == (2, f"error: tiny: holds no status.yaml → {both} on the cluster\n")
    assert shown(distillery("status", "tiny", "-n", "team-a").out)[0] == "Running: asking"
    assert distillery("status", "./tiny").err.startswith("error: tiny: holds no status.yaml")
    assert distillery("status", ".distillery/tiny").code == 2


def test_a_word_that_is_neither_says_both_readings(distillery: Any) -> None:
    done = distillery("status", "nowhere")
    both = "nowhere is no folder here, and as a job on the cluster"
    why = "there is no kubeconfig (looked at ~/.kube/config and $KUBECONFIG)"
    repair = "name one with --kubeconfig or KUBECONFIG"
    assert (done.code, done.out, done.err) == (1, "", f"error: {both}: {why} → {repair}\n")


def test_a_local_run_is_not_watched(distillery: Any) -> None:
    Path("work").mkdir()
    done = distillery("status", "work", "--watch")
    assert done.code == 2
    assert done.err.startswith("error: --watch: work is the workdir of a local run → ")


def test_an_api_server_that_is_away_is_named(distillery: Any, cluster: Any) -> None:
    config = json.loads(Path(cluster.kubeconfig).read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    Path(cluster.kubeconfig).write_text(json.dumps(config))
    done = distillery("status", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert done.code == 1
    assert done.err.startswith("error: the API server does not answer (")
    assert "127.0.0.1:9" in done.err
    assert done.err.endswith("→ check the context: kubectl cluster-info\n")


def test_as_a_plugin_of_kubectl_it_names_itself_so(distillery: Any) -> None:
    done = distillery("status", "--help", program="/usr/local/bin/kubectl-distillery")
    assert done.out.startswith("Usage: kubectl distillery status ")


def attempt_record(stage: StageName, attempt: int, **fields: Any) -> AttemptRecord:
    return AttemptRecord(
        stage=stage,
        attempt=attempt,
        recipe="r",
        generation=1,
        name="n",
        storage="s3://bucket/prefix",
        **fields,
    )


def record(cluster: Any, *entries: AttemptRecord) -> None:
    body = record_map(JobRef("tiny", "team-a", "tiny-uid"))
    data = {entry.key: entry.dump() for entry in entries}
    name = body["metadata"]["name"]
    cluster.store(f"/api/v1/namespaces/team-a/configmaps/{name}", {**body, "data": data})


def test_cost_is_shown_with_the_gpu_hours_of_each_attempt(cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    record(
        cluster,
        attempt_record("student", 1, started_at=200.0, ended_at=3800.0, gpus=2, gpu_seconds=5400.0),
        attempt_record("teacher", 2, started_at=100.0),
    )
    done = distillery("cost", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.err) == (0, "")
    assert (
        done.out
        == """estimated  12.00 USD
spent      3.25 USD
unknown    at most 0.1000 USD for calls lost in a crash
budget     20.00 USD
GPU hours  1.50
  teacher     attempt 2   no GPU, not ended
  student     attempt 1   1.50 GPU hours on 2 GPUs
"""
    )
    done = distillery("cost", "tiny", "-o", "json", "--kubeconfig", cluster.kubeconfig)
    assert json.loads(done.out) == {
        **STATUS["cost"],
        "currency": "USD",
        "attempts": [
            {
                "stage": "teacher",
                "attempt": 2,
                "gpus": 0,
                "gpuHours": 0.0,
                "startTime": "1970-01-01T00:01:40Z",
                "completionTime": None,
            },
            {
                "stage": "student",
                "attempt": 1,
                "gpus": 2,
                "gpuHours": 1.5,
                "startTime": "1970-01-01T00:03:20Z",
                "completionTime": "1970-01-01T01:03:20Z",
            },
        ],
    }


def test_cost_is_shown_without_the_right_to_read_the_record(cluster: Any, distillery: Any) -> None:
    cluster.job(status={"cost": {"spent": "3.25"}})
    body = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}
    cluster.answers["GET", "configmaps"] = lambda: web.json_response(body, status=403)
    done = distillery("cost", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.out) == (0, "estimated  –\nspent      3.25 USD\nbudget     –\n")
    assert done.err == "note: no attempts are shown: you may not get ConfigMaps in namespace team-a\n"


def test_logs_come_from_the_newest_attempt_that_fits(cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    labels = {"job_uid": "tiny-uid"}
    cluster.pod("a", lines=["one"], created="2026-11-03T12:00:00Z", stage="dataset", attempt="1", **labels)
    cluster.pod("b", lines=["two"], created="2026-11-03T12:01:00Z", stage="teacher", attempt="1", **labels)
    cluster.pod("c", lines=["three"], created="2026-11-03T12:02:00Z", stage="teacher", attempt="2", **labels)
    cluster.pod("d", lines=["other"], created="2026-11-03T12:09:00Z", job_uid="another", stage="teacher")
    shell = ("logs", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert distillery(*shell).out == "three\n"
    assert distillery(*shell, "--stage", "dataset").out == "one\n"
    assert distillery(*shell, "--stage", "teacher", "--attempt", "1", "-f").out == "two\n"
    done = distillery(*shell, "--stage", "student")
    why = "no pod of tiny (student) is there: Running, asking"
    assert (done.code, done.err) == (1, f"error: {why}\n")


def test_logs_of_a_strangers_pod_are_not_those_of_the_job(cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    labels = {"job_uid": "tiny-uid", "stage": "teacher"}
    cluster.pod("ours", lines=["ours"], created="2026-11-03T12:00:00Z", attempt="1", **labels)
    late = {"created": "2026-11-03T13:00:00Z", "attempt": "2", "chain": False, **labels}
    cluster.pod("theirs", lines=["theirs"], **late)
    owner = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "name": "tiny-teacher-1-abcde",
        "uid": "another",
    }
    pod = cluster.pod("forged", lines=["forged"], **late)
    pod["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    cluster.store("/api/v1/namespaces/team-a/pods/forged", pod)
    shell = ("logs", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert distillery(*shell).out == "ours\n"
    assert distillery(*shell, "--attempt", "2").code == 1


def test_logs_are_shown_without_the_right_to_list_rayjobs(cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    labels = {"job_uid": "tiny-uid", "stage": "teacher", "attempt": "1"}
    cluster.pod("ours", lines=["ours"], created="2026-11-03T12:00:00Z", **labels)
    cluster.pod("theirs", lines=["theirs"], created="2026-11-03T13:00:00Z", chain=False, **labels)
    body = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"}
    cluster.answers["GET", "rayjobs"] = lambda: web.json_response(body, status=403)
    done = distillery("logs", "tiny", "--kubeconfig", cluster.kubeconfig)
    note = "note: whose pod it is goes by its labels: you may not list RayJobs\n"
    assert (done.code, done.out, done.err) == (0, "ours\n", note)


def test_logs_of_an_attempt_that_has_ended_are_in_the_store(cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    record(
        cluster,
        attempt_record("teacher", 1, started_at=100.0, ended_at=150.0),
        attempt_record("student", 1, started_at=200.0, ended_at=250.0),
        attempt_record("student", 2, started_at=300.0),
    )
    shell = ("logs", "tiny", "--kubeconfig", cluster.kubeconfig)
    left = "left its log, unless it was killed, at s3://bucket/prefix/jobs/tiny-uid/logs"
    done = distillery(*shell)
    why = f"no pod of tiny is there: Running, asking → student attempt 1 {left}/student.1.jsonl"
    assert (done.code, done.err) == (1, f"error: {why}\n")
    done = distillery(*shell, "--stage", "teacher")
    assert done.err.endswith(f" → teacher attempt 1 {left}/teacher.1.jsonl\n")
    done = distillery(*shell, "--stage", "student", "--attempt", "2")
    assert done.err == "error: no pod of tiny (student attempt 2) is there: Running, asking\n"


def test_logs_of_a_container_that_waits_say_why(cluster: Any, distillery: Any) -> None:
    cluster.job(status=STATUS)
    pod = cluster.pod("a", lines=["ready"], stage="teacher", attempt="1", job_uid="tiny-uid")
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    path = "/api/v1/namespaces/team-a/pods/a"
    cluster.store(path, {**pod, "status": {"containerStatuses": [{"state": waiting}]}})
    shell = ("logs", "tiny", "--kubeconfig", cluster.kubeconfig)
    done = distillery(*shell, "-f")
    why = "pod a does not run yet: ImagePullBackOff: no such image"
    assert (done.code, done.err) == (1, f"error: {why}\n")
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}
    cluster.store(path, {**pod, "status": {"phase": "Pending", "conditions": [unscheduled]}})
    assert distillery(*shell).err == "error: pod a does not run yet: Unschedulable: 0/1\n"


def test_following_logs_waits_for_a_container_that_is_being_created(
    cluster: Any, distillery: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distillery.cli.cluster.logs.POLL_SECONDS", 0.0)
    cluster.job(status=STATUS)
    pod = cluster.pod("a", lines=["ready"], stage="teacher", attempt="1", job_uid="tiny-uid")
    path = "/api/v1/namespaces/team-a/pods/a"
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    cluster.store(path, {**pod, "status": {"containerStatuses": [{"state": waiting}]}})

    def started() -> web.Response:
        return web.json_response(pod)

    cluster.answers["GET", "pods/a/log"] = lambda: web.Response(text="ready\n")
    cluster.answers["GET", "pods/a"] = started
    assert distillery("logs", "tiny", "-f", "--kubeconfig", cluster.kubeconfig).out == "ready\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_watching_without_a_traceback(name: str, cluster: Any) -> None:
    cluster.job(status=STATUS)
    command = [sys.executable, "-m", "distillery", "status", "tiny", "--watch"]
    command += ["--kubeconfig", cluster.kubeconfig]
    with children.running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "dataset" in process.stdout.readline()
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=children.PATIENCE)
    assert (process.returncode, err) == (130, "")
    assert "Traceback" not in out


def test_a_missing_client_is_installed_from_a_checkout() -> None:
    code = "import sys; sys.modules['kubernetes'] = None; from distillery.cli import main; main()"
    command = [sys.executable, "-c", code, "cost", "tiny"]
    done = children.run(command, capture_output=True, text=True, check=False)
    repair = "install it from a checkout: pip install '.[cluster]'"
    said = f"error: the Kubernetes client (kubernetes.aio) is not installed → {repair}\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_local_verbs_never_import_the_cluster_s_client() -> None:
    code = "import sys, distillery.cli; print(sorted({'kubernetes', 'aiohttp', 'asyncio', 'rich'} & set(sys.modules)))"
    done = children.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

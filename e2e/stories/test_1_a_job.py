"""A team applies a job: it ends in a released student; the same again costs nothing; an edit runs what it changes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from place import TEACHER_KEY, Job, LogCollector, Site, Teacher, consistent

from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.artifacts.artifact import find_manifest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

STAGES = ["dataset", "teacher", "filter", "student", "evaluation"]


@pytest.fixture
def job(first_job: Job) -> Job:
    return first_job


@pytest.fixture(scope="module")
def logs(first_job: Job) -> LogCollector:
    return LogCollector(first_job)


def test_a_job_runs_to_a_released_student(job: Job, site: Site, teacher: Teacher, logs: LogCollector) -> None:
    generation = job.apply()
    with logs:
        job.reach("teacher")
        nodes = {pod["metadata"]["labels"]["ray.io/node-type"] for pod in job.pods("teacher")}
        status = job.ended(generation)
    assert nodes == {"head", "worker"}
    ready = find_condition(status.conditions, ConditionType.READY)
    assert ready is not None
    assert (status.phase, ready.status, ready.reason) == ("Succeeded", "True", "GatesPassed"), status
    assert [(s.name, s.state, s.attempt) for s in status.stages] == [(n, "Succeeded", 1) for n in STAGES]
    assert status.release is not None
    release = site.get("-n", job.namespace, "configmap", "distillery-release-router")["data"]
    assert (release["version"], release["uri"]) == (status.release.version, status.release.uri)
    assert status.cost.spent is not None
    assert status.cost.spent == _price(teacher.bill)


def _price(bill: list[dict[str, Any]]) -> Any:
    from decimal import Decimal

    micro = sum(call["prompt"] * 2 + call["completion"] * 10 for call in bill)
    return (Decimal(micro) / 1_000_000).quantize(Decimal("0.000001"))


def test_every_artifact_is_as_its_manifest_says(job: Job, site: Site) -> None:
    store = site.store(job.prefix)
    for stage in job.status().stages:
        assert stage.identity is not None
        manifest = find_manifest(store, stage.name, stage.identity)
        assert manifest is not None
        for file in manifest.files:
            key = f"artifacts/{stage.name}/{stage.identity}/data/{manifest.writer}/{file.path}"
            assert hashlib.sha256(store.get(key)).hexdigest() == file.sha256
        if stage.name == "student":
            assert manifest.provenance["workers"] == 2


def test_kubectl_tells_the_story(job: Job, site: Site) -> None:
    head, row = site.kubectl("-n", job.namespace, "get", "dj", job.name).splitlines()
    assert head.split() == ["NAME", "PHASE", "STAGE", "PROGRESS", "RETENTION", "COST", "AGE"]
    assert row.split()[:2] == [job.name, "Succeeded"]
    reasons = [
        event["reason"]
        for event in site.get("-n", job.namespace, "events")["items"]
        if event["involvedObject"]["kind"] == "DistillationJob"
    ]
    assert {"StageStarted", "StageSucceeded", "GatesPassed"} <= set(reasons)
    assert len(json.dumps(job.read()["status"])) < 16 * 1024


def test_the_pods_log_what_their_stage_does(job: Job, logs: LogCollector) -> None:
    heads = {key: text for key, text in logs.texts.items() if key.startswith("logs") and "-head-" in key}
    for stage in STAGES:
        (text,) = (text for key, text in heads.items() if f"{job.name}-{stage}-1-" in key)
        lines = [json.loads(line) for line in text.splitlines() if line.startswith('{"time"')]
        begun = next(line for line in lines if line["logger"] == "distillery.worker.process")
        assert (begun["namespace"], begun["job"], begun["stage"]) == (job.namespace, job.name, stage)


def test_report_and_logs_lie_where_people_are_led(job: Job, site: Site) -> None:
    store, evaluation = site.store(job.prefix), job.status().evaluation
    assert evaluation is not None
    assert evaluation.report is not None
    assert store.get(evaluation.report.removeprefix(f"{store.uri}/")).startswith(b"<!doctype html>")
    logs = [stat.key.rpartition("/")[2] for stat in store.list("jobs/") if "/logs/" in stat.key]
    assert sorted(logs) == sorted(f"{stage}.1.jsonl" for stage in STAGES)


def test_no_secret_is_in_any_object_log_event_or_artifact(job: Job, site: Site, logs: LogCollector) -> None:
    planted = [TEACHER_KEY, site.s3["secretKey"]]
    kinds = "dj,rayjobs,rayclusters,pods,configmaps,events,serviceaccounts,roles"
    texts = {
        "objects": site.kubectl("get", kinds, "-n", job.namespace, "-o", "json"),
        "operator": site.kubectl(
            "-n", "distillery-system", "logs", "-l", "app.kubernetes.io/name=distillery"
        ),
    }
    store = site.store(job.prefix)
    texts |= {stat.key: store.get(stat.key).decode("latin-1") for stat in store.list("")}
    texts |= logs.texts
    assert len(texts) > 20
    for place, text in texts.items():
        for value in planted:
            assert value not in text, place


def test_a_second_object_of_the_same_spec_adopts_the_work(job: Job, site: Site, teacher: Teacher) -> None:
    bill = len(teacher.bill)
    again = Job(site, job.namespace, "the-same-again", job.spec)
    status = again.ended(again.apply())
    assert status.phase == "Succeeded"
    assert [s.identity for s in status.stages] == [s.identity for s in job.status().stages]
    assert all(stage.reused for stage in status.stages)
    assert list(again.record()) == ["dataset.1"]
    assert len(teacher.bill) == bill
    assert str(status.cost.spent) == "0.000000"


def test_an_edit_of_the_filter_runs_filter_student_and_evaluation(job: Job, teacher: Teacher) -> None:
    before, bill = job.status(), len(teacher.bill)
    status = job.ended(job.apply(filter=consistent(0.5)))
    assert status.phase == "Succeeded"
    assert [s.attempt for s in status.stages] == [1, 1, 2, 2, 2]
    assert [s.identity for s in status.stages[:2]] == [s.identity for s in before.stages[:2]]
    assert len(teacher.bill) == bill

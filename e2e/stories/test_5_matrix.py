"""Every incident at every stage of a job: it ends as an undisturbed one, no attempt beside another, no answer twice.

One job per incident, which meets it once in each stage. What has passed is noted by image in the cluster's state
folder and not run again, so the matrix can be run in parts; `matrix.py` prints the table of docs/reliability.md.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

import pytest
from incidents import INCIDENTS, Incident
from matrix import Cell, Course, Vigil, keep, kept
from place import Job, Site, Teacher, small_job

from distillery.artifacts.artifact import find_manifest
from distillery.stages.stage import STAGE_NAMES
from tiny_job import ticket

pytestmark = [pytest.mark.e2e, pytest.mark.full, pytest.mark.timeout(3600)]

CONCURRENCY = 8
"""rateLimits.concurrency of the small job: so many answers are in flight."""
COMMIT_WINDOW = 8
"""Answers that may arrive in the 100 ms of a commit window when each takes longer."""
AGAIN_ON_PURPOSE = 10 + 1
"""The noise rows of the evaluation, and the preflight's row."""
ASKING = ("teacher", "evaluation")


@pytest.fixture(scope="module")
def patient_teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Teacher]:
    """A teacher that is slow enough to be interrupted."""
    with Teacher(tmp_path_factory.mktemp("patient")).running("--delay", "0.5") as found:
        yield found


def matrix_job(site: Site, teacher: Teacher, profile: str, incident: str) -> Job:
    """Return a job, in a namespace of its own, that differs from the others by the place of its artifacts only."""
    name = incident.lower().replace(" ", "-")
    namespace = f"matrix-{name}-{os.urandom(2).hex()}"
    site.make_namespace(namespace)
    job = small_job(site, namespace, name, teacher, f"matrix-{name}-{os.urandom(3).hex()}", epochs=40)
    lines = "".join(json.dumps(ticket(number)) + "\n" for number in range(200))
    site.store("matrix-source").put("tickets.jsonl", lines.encode())
    job.spec["dataset"]["sources"] = [{"uri": f"s3://{site.s3['bucket']}/matrix-source/tickets.jsonl"}]
    job.spec["student"]["earlyStopping"] = {"patience": 100}
    job.spec["profile"] = profile
    del job.spec["teacher"]["samples"]  # drawn anew each time they are asked for
    return job


def halfway(job: Job, stage: str, teacher: Teacher) -> None:
    """Wait until a stage is in the midst of its work; one that takes a moment only, until its head pod runs."""
    job.reach(stage, working=False)
    if stage in ASKING:
        some = len(teacher.bill) + 10
        job.site.wait("some answers", lambda: len(teacher.bill) >= some, pause=0.1)
    elif stage == "student":
        job.reach(stage, done=1)
    else:
        job.site.wait("a head pod", lambda: any(p["status"]["phase"] == "Running" for p in job.pods(stage)))


def course_of(job: Job, cells: dict[str, Cell], answers_twice: int) -> Course:
    """Return how a job went."""
    store = job.site.store(job.prefix)
    identities, digests = {}, {}
    for stage in job.status().stages:
        assert stage.identity is not None
        manifest = find_manifest(store, stage.name, stage.identity)
        assert manifest is not None
        identities[stage.name], digests[stage.name] = stage.identity, manifest.output_digest
    return Course(identities, digests, cells, answers_twice)


def bought_twice(calls: list[dict[str, object]]) -> int:
    """Return how many answers were bought more than once."""
    return sum(count - 1 for count in Counter(call["row"] for call in calls).values())


def manifests(job: Job) -> Counter[str]:
    """Return how many artifacts each stage has committed."""
    keys = [stat.key for stat in job.site.store(job.prefix).list("artifacts/")]
    return Counter(key.split("/")[1] for key in keys if key.endswith("/manifest.json"))


@pytest.fixture(scope="module")
def undisturbed(site: Site, patient_teacher: Teacher, fast_watchdogs: str) -> Course:
    """How a job goes to which nothing happens."""
    known = kept(site, "nothing")
    if known is not None:
        return known
    job = matrix_job(site, patient_teacher, fast_watchdogs, "nothing")
    before = len(patient_teacher.bill)
    status = job.ended(job.apply())
    assert status.phase == "Succeeded", status
    cells = {}
    for stage in status.stages:
        assert stage.start_time is not None
        assert stage.completion_time is not None
        took = datetime.fromisoformat(stage.completion_time) - datetime.fromisoformat(stage.start_time)
        cells[stage.name] = Cell(stage.attempt, took.total_seconds())
    course = course_of(job, cells, bought_twice(patient_teacher.bill[before:]))
    assert course.answers_twice <= AGAIN_ON_PURPOSE
    keep(site, "nothing", course)
    site.kubectl("delete", "namespace", job.namespace, "--wait=false")
    return course


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name.replace(" ", "-"))
def test_a_job_that_meets_an_incident_in_every_stage_ends_as_if_nothing_had_happened(
    incident: Incident,
    site: Site,
    patient_teacher: Teacher,
    fast_watchdogs: str,
    undisturbed: Course,
) -> None:
    if kept(site, incident.name) is not None:
        pytest.skip("has passed with these images")
    job = matrix_job(site, patient_teacher, fast_watchdogs, incident.name)
    before = len(patient_teacher.bill)
    generation = job.apply()
    cells: dict[str, Cell] = {}
    with Vigil(job) as vigil:
        for stage in incident.stages:
            halfway(job, stage, patient_teacher)
            began = time.monotonic()
            incident.strike(job, stage)
            status = job.completed(stage, seconds=600)
            attempts = next(s.attempt for s in status.stages if s.name == stage)
            cells[stage] = Cell(attempts, time.monotonic() - began)
            print(f"{incident.name} in {stage}: {cells[stage]}")
        status = job.ended(generation)
    assert status.phase == "Succeeded", status
    release = site.get("-n", job.namespace, "configmap", "distillery-release-router")["data"]
    assert status.release is not None
    assert release["version"] == status.release.version
    assert vigil.looks > 20
    assert vigil.overlaps == []
    assert manifests(job) == dict.fromkeys(STAGE_NAMES, 1)
    attempts_by_stage = {stage.name: stage.attempt for stage in status.stages}
    record = job.record().values()
    assert Counter(entry["stage"] for entry in record) == attempts_by_stage
    failed = {entry["failure"]["failureClass"] for entry in record if "failure" in entry}
    assert failed <= {"infrastructure", "preemption"}
    if not incident.restarts:
        assert set(attempts_by_stage.values()) == {1}
    course = course_of(job, cells, bought_twice(patient_teacher.bill[before:]))
    assert course.identities == undisturbed.identities
    assert course.digests == undisturbed.digests
    extra = sum(cells[stage].attempts - 1 for stage in ASKING if stage in cells) or incident.restarts
    assert course.answers_twice <= AGAIN_ON_PURPOSE + extra * (CONCURRENCY + COMMIT_WINDOW)
    keep(site, incident.name, course)
    site.kubectl("delete", "namespace", job.namespace, "--wait=false")

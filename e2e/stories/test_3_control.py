"""What people ask for while a job runs, and what is missing when it starts: each is done or told, nothing is lost."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from place import SYSTEM, TEACHER_KEY, Job, Site, Teacher, secret, small_job

from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.api.v1alpha1.status import Status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
full = pytest.mark.full


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def reconciling(status: Status) -> tuple[str, str]:
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    return (found.reason, found.message) if found else ("", "")


def a_job(site: Site, namespace: str, teacher: Teacher, name: str, **settings: Any) -> Job:
    return small_job(site, namespace, name, teacher, f"{name}-{os.urandom(3).hex()}", **settings)


def profile(site: Site, name: str, **spec: Any) -> str:
    kind = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationProfile"}
    site.apply({**kind, "metadata": {"name": name}, "spec": spec})
    return name


def told(job: Job, reason: str, *words: str, seconds: float = 60.0) -> None:
    """Wait until the status says why nothing goes on."""

    def holds() -> bool:
        found, message = reconciling(job.status())
        return found == reason and all(word in message for word in words)

    job.site.wait(f"{reason} {words}", holds, seconds)


def test_what_is_missing_is_told_and_waited_for(site: Site, team: str, teacher: Teacher) -> None:
    job = a_job(site, team, teacher, "late-secret")
    job.spec["teacher"]["endpoint"]["apiKeySecret"] = {"name": "late", "key": "api-key"}
    job.spec["profile"] = late = f"late-{os.urandom(3).hex()}"  # an earlier run may have left one
    job.apply()
    told(job, "ProfileMissing", late)
    profile(site, late)
    told(job, "WaitingForPods", "CreateContainerConfigError", 'secret "late" not found', seconds=90)
    site.apply(secret(team, "late", {"api-key": TEACHER_KEY}))
    site.wait("the dataset", lambda: job.status().stages[0].state == "Succeeded", 180)
    job.annotate(cancel_requested_at=now())
    site.wait("the end", lambda: job.status().phase == "Stopped", 120)


def test_pods_that_cannot_run_say_why(site: Site, team: str, teacher: Teacher) -> None:
    template = {"spec": {"nodeSelector": {"no-such": "node"}}}
    profile(site, "nowhere", pods={"default": {"head": template}})
    profile(site, "no-image", image="localhost/distillery/there-is-no-such:image")
    nowhere, no_image = (a_job(site, team, teacher, name) for name in ("nowhere", "no-image"))
    for job in (nowhere, no_image):
        job.spec["profile"] = job.name
        job.apply()
    told(nowhere, "WaitingForPods", "Unschedulable", "didn't match Pod's node affinity/selector")
    told(no_image, "WaitingForPods", "Image", seconds=90)
    for job in (nowhere, no_image):
        site.kubectl("-n", team, "delete", "dj", job.name, "--wait=false")


def test_a_namespace_goes_within_a_minute_with_the_operator_down(site: Site, teacher: Teacher) -> None:
    name = f"short-lived-{os.urandom(2).hex()}"
    site.make_namespace(name)
    job = a_job(site, name, teacher, "doomed")
    job.apply()
    job.reach("dataset", working=False)
    replicas = site.get("-n", SYSTEM, "deployment", "distillery")["spec"]["replicas"]
    site.kubectl("-n", SYSTEM, "scale", "deployment", "distillery", "--replicas=0")
    try:
        began = time.monotonic()
        site.kubectl("delete", "namespace", name, "--wait=false")
        gone = ("get", "namespace", name, "--ignore-not-found", "-o", "name")
        site.wait("the namespace is gone", lambda: not site.kubectl(*gone).strip(), 60)
        print(f"namespace gone after {time.monotonic() - began:.0f} s")
    finally:
        site.kubectl("-n", SYSTEM, "scale", "deployment", "distillery", f"--replicas={replicas}")
        site.kubectl("-n", SYSTEM, "rollout", "status", "deployment", "distillery", "--timeout=120s")


@full
def test_suspended_training_goes_on_from_its_checkpoint(site: Site, team: str, teacher: Teacher) -> None:
    job = a_job(site, team, teacher, "paused", epochs=200)
    job.spec["student"]["earlyStopping"] = {"patience": 100}
    generation = job.apply()

    def trained() -> int:
        stage = next(s for s in job.status().stages if s.name == "student")
        return stage.progress.done if stage.progress else 0

    job.reach("student")
    before = site.wait("some steps", lambda: trained() if trained() > 20 else 0, 300)
    job.annotate(suspend_requested_at=now())
    site.wait("suspension", lambda: job.status().phase == "Suspended", 180)
    site.wait("no pods", lambda: not job.pods("student"), 120)
    time.sleep(1.1)
    job.annotate(resume_requested_at=now())
    job.reach("student", done=1)
    assert trained() >= before - 20
    status = job.ended(generation)
    assert status.phase == "Succeeded"
    assert next(s for s in status.stages if s.name == "student").attempt == 2


@full
def test_a_deadline_stops_what_runs(site: Site, team: str, teacher: Teacher) -> None:
    job = a_job(site, team, teacher, "late", epochs=200)
    job.spec["activeDeadlineSeconds"] = 60
    job.spec["student"]["earlyStopping"] = {"patience": 100}
    status = job.ended(job.apply(), 400)
    failed = find_condition(status.conditions, ConditionType.FAILED)
    assert failed is not None
    assert (failed.status, failed.reason) == ("True", "DeadlineExceeded")
    site.wait("no pods", lambda: not site.get("-n", team, "pods")["items"], 120)


@full
def test_a_budget_stops_and_a_raise_goes_on(site: Site, team: str, teacher: Teacher) -> None:
    job = a_job(site, team, teacher, "thrifty")
    job.spec["budget"] = {"maxCost": "0.015"}
    stopped = job.ended(job.apply())
    assert stopped.phase == "Stopped"
    assert stopped.cost.spent is not None
    assert stopped.cost.budget is not None
    assert stopped.cost.spent <= stopped.cost.budget
    bought = len(teacher.bill)
    done = job.ended(job.apply(budget={"maxCost": "5.00"}))
    assert done.phase == "Succeeded"
    assert len(teacher.bill) > bought


@full
def test_one_stage_runs_again_on_request(site: Site, team: str, teacher: Teacher) -> None:
    job = a_job(site, team, teacher, "again")
    generation = job.apply()
    first = job.ended(generation)
    job.annotate(rerun_requested_at=f"{now()}/evaluation")
    site.wait("the rerun", lambda: job.status().stages[4].attempt == 2, 120)
    second = job.ended(generation)
    assert [s.attempt for s in second.stages] == [1, 1, 1, 1, 2]
    assert first.stages[4].identity != second.stages[4].identity


@full
def test_a_finished_job_stays_finished_when_its_rayjobs_are_gone(
    site: Site, team: str, teacher: Teacher
) -> None:
    job = a_job(site, team, teacher, "tidy")
    job.spec["ttlSecondsAfterFinished"] = 5
    done = job.ended(job.apply())
    site.wait("no RayJobs", lambda: not job.rayjobs(), 120)
    site.kubectl("-n", SYSTEM, "rollout", "restart", "deployment", "distillery")
    site.kubectl("-n", SYSTEM, "rollout", "status", "deployment", "distillery", "--timeout=180s")
    time.sleep(20)
    assert job.status() == done
    assert not job.rayjobs()

"""Pods that may not be created or do not stay: the status says it in words, and nothing is used up meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from place import Job, Site, Teacher, small_job

from distillery.api.v1alpha1.conditions import ConditionType, find_condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def told(job: Job, reason: str, *words: str, seconds: float = 60.0) -> None:
    """Wait until the status says why nothing goes on, or what is wrong beside it."""

    def holds() -> bool:
        found = find_condition(job.status().conditions, ConditionType.RECONCILING)
        return found is not None and found.reason == reason and all(word in found.message for word in words)

    job.site.wait(f"{reason} {words}", holds, seconds)


@pytest.fixture
def namespace(site: Site) -> Iterator[str]:
    """A namespace of its own."""
    name = f"crowded-{os.urandom(3).hex()}"
    site.make_namespace(name)
    yield name
    site.kubectl("delete", "namespace", name, "--wait=false")


def quota(namespace: str, pods: int) -> dict[str, Any]:
    metadata = {"name": "pods", "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata,
        "spec": {"hard": {"pods": pods}},
    }


def a_job(site: Site, namespace: str, teacher: Teacher, name: str) -> Job:
    return small_job(site, namespace, name, teacher, f"{name}-{os.urandom(3).hex()}", rows=60)


def test_a_quota_on_pods_is_told_and_waited_for_with_the_first_attempt(
    site: Site, namespace: str, teacher: Teacher
) -> None:
    site.apply(quota(namespace, 0))
    job = a_job(site, namespace, teacher, "no-room")
    job.apply()
    told(job, "WaitingForPods", "dataset attempt 1", "exceeded quota", "pods=0")
    site.kubectl("-n", namespace, "delete", "resourcequota", "pods")
    status = job.completed("dataset", 240)
    assert [(s.name, s.attempt) for s in status.stages if s.state == "Succeeded"] == [("dataset", 1)]
    site.kubectl("-n", namespace, "delete", "dj", job.name, "--wait=false")


def test_a_missing_service_account_is_told(site: Site, namespace: str, teacher: Teacher) -> None:
    name = f"no-account-{os.urandom(2).hex()}"
    kind = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationProfile"}
    site.apply({**kind, "metadata": {"name": name}, "spec": {"serviceAccountName": "nobody"}})
    job = a_job(site, namespace, teacher, "no-account")
    job.spec["profile"] = name
    job.apply()
    told(job, "WaitingForPods", "serviceaccount", "nobody", "not found")
    site.kubectl("-n", namespace, "delete", "dj", job.name, "--wait=false")
    site.kubectl("delete", "distillationprofiles", name)


def test_a_starved_worker_is_replaced_by_an_edit_of_its_resources(
    site: Site, namespace: str, teacher: Teacher
) -> None:
    job = a_job(site, namespace, teacher, "starved")
    starved = {"resources": {"cpu": "30m", "memory": "1Gi"}, "limits": {"cpu": "30m"}}
    job.spec["teacher"]["workers"] = {"replicas": 1, **starved}
    job.apply()
    job.completed("dataset", 240)
    told(job, "WaitingForPods", "teacher attempt 1", "less than Ray needs", seconds=240)
    workers = {"replicas": 1, "resources": {"cpu": "250m", "memory": "1Gi"}}
    job.apply(teacher={**job.spec["teacher"], "workers": workers})
    job.reach("teacher", 240)
    record = job.record()
    assert record["teacher.1"]["controlReason"] == "Superseded"
    assert "teacher.3" not in record
    site.kubectl("-n", namespace, "delete", "dj", job.name, "--wait=false")

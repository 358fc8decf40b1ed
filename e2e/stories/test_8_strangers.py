"""Strangers on the same cluster: objects that cannot be decoded as usual, and objects that pretend to be children."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from place import SYSTEM, Job, Site, Teacher, small_job

from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.api.v1alpha1.status import Status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def stranger(site: Site) -> Iterator[str]:
    """A namespace of somebody who means harm."""
    name = f"stranger-{os.urandom(3).hex()}"
    site.make_namespace(name)
    yield name
    site.kubectl("delete", "namespace", name, "--wait=false")


def restarts(site: Site) -> dict[str, int]:
    """Return how often the container of each operator pod was started again."""
    pods = site.get("-n", SYSTEM, "pods", "-l", "app.kubernetes.io/name=distillery")["items"]
    return {
        pod["metadata"]["name"]: sum(c["restartCount"] for c in pod["status"].get("containerStatuses", []))
        for pod in pods
    }


def poisons() -> dict[str, Any]:
    """Return free-form values that the API server admits and no job may have."""
    return {
        "deep": '{"a":' * 1500 + "1" + "}" * 1500,
        "deepest": '{"a":' * 9000 + "1" + "}" * 9000,
        "wide": json.dumps({"a": [{}] * 250_000}),
    }


def poison(site: Site, namespace: str, teacher: Teacher, name: str, value: str) -> None:
    """Create a job whose base architecture is a given text of JSON."""
    job = small_job(site, namespace, name, teacher, f"{name}-{os.urandom(3).hex()}")
    job.spec["student"]["base"] = {"architecture": "POISON", "tokenizer": {"train": {"vocabSize": 512}}}
    text = json.dumps(job.document()).replace('"POISON"', value)
    site.kubectl("create", "--raw", _path(namespace), "-f", "-", text=text)


def _status(site: Site, namespace: str, name: str) -> Status:
    """Read the status alone: the whole object is more than Python decodes."""
    text = site.kubectl("-n", namespace, "get", "dj", name, "-o", "jsonpath={.status}")
    return Status.model_validate_json(text or "{}")


def _path(namespace: str) -> str:
    return f"/apis/distillery.dev/v1alpha1/namespaces/{namespace}/distillationjobs"


def test_a_poison_object_costs_one_job(site: Site, team: str, stranger: str, teacher: Teacher) -> None:
    before = restarts(site)
    assert len(before) == 2, "the story needs both replicas"
    for name, value in poisons().items():
        poison(site, stranger, teacher, name, value)
    for name in poisons():
        site.wait(f"{name} is refused", lambda name=name: _status(site, stranger, name).phase == "Failed", 60)
        stalled = find_condition(_status(site, stranger, name).conditions, ConditionType.STALLED)
        assert stalled is not None
        assert (stalled.status, stalled.reason) == ("True", "InvalidSpec")
        assert "spec.student.base.architecture" in stalled.message
        row = site.kubectl("-n", stranger, "get", "dj", name).splitlines()[1]
        assert row.split()[:2] == [name, "Failed"]
    other = small_job(site, team, "beside-poison", teacher, f"beside-{os.urandom(3).hex()}")
    other.apply()
    other.reach("dataset", working=False)
    # The whole list is read again by whoever leads next.
    leader = site.get("-n", SYSTEM, "lease", "distillery")["spec"]["holderIdentity"].partition("_")[0]
    site.kubectl("-n", SYSTEM, "delete", "pod", leader, "--wait=false")
    site.wait(
        "another leader",
        lambda: (
            not site.get("-n", SYSTEM, "lease", "distillery")["spec"]["holderIdentity"].startswith(leader)
        ),
        120,
    )
    other.annotate(suspend_requested_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    site.wait("the other job is looked at", lambda: other.status().phase == "Suspended", 180)
    after = restarts(site)
    assert all(count == before.get(name, 0) for name, count in after.items()), after
    site.kubectl("-n", team, "delete", "dj", other.name, "--wait=false")


def test_look_alikes_of_children_change_nothing(site: Site, team: str, stranger: str, first_job: Job) -> None:
    uid = first_job.read()["metadata"]["uid"]
    record = f"{first_job.name}-{uid.replace('-', '')[:8]}-record"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app-config", "namespace": team}}
    site.apply({**config, "data": {"of": "an application"}})
    before = {name: _config(site, team, name) for name in ("app-config", record)}
    status = first_job.read()["status"]
    labels = {
        "app.kubernetes.io/managed-by": "distillery",
        "distillery.dev/job": first_job.name,
        "distillery.dev/job-uid": uid,
        "distillery.dev/stage": "teacher",
        "distillery.dev/attempt": "1",
    }
    (template,) = first_job.rayjobs("dataset")[:1] or [None]
    spec = template["spec"] if template else {"entrypoint": "sleep 1", "rayClusterSpec": _cluster()}
    for namespace in (stranger, team):
        for name in ("app-config", record):
            look_alike = {
                "apiVersion": "ray.io/v1",
                "kind": "RayJob",
                "metadata": {"name": name[:47], "namespace": namespace, "labels": labels},
                "spec": {**spec, "suspend": True},
            }
            site.apply(look_alike)
    time.sleep(20)
    assert {name: _config(site, team, name) for name in before} == before
    assert first_job.read()["status"] == status
    for namespace in (stranger, team):
        names = {item["metadata"]["name"] for item in site.get("-n", namespace, "rayjobs")["items"]}
        assert {"app-config", record[:47]} <= names
    for name in ("app-config", record[:47]):
        site.kubectl("-n", team, "delete", "rayjob", name, "--wait=false")


def _config(site: Site, namespace: str, name: str) -> tuple[str, Any]:
    found = site.get("-n", namespace, "configmap", name)
    return found["metadata"]["uid"], found.get("data")


def _cluster() -> dict[str, Any]:
    container = {"name": "ray-head", "image": "localhost/none:1"}
    return {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [container]}}}}

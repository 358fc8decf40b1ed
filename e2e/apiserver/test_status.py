"""What a status is written with: names, version and status alone. Everything else of the object stays as it is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from controller_world import MANIFEST
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.controller.publish import Publisher
from distillery.kube.client import Kube, Object
from distillery.kube.resources import DISTILLATION_JOBS
from distillery.kube.transport import Request
from kube.apiserver import ApiServer

pytestmark = [pytest.mark.kube, pytest.mark.timeout(120)]


def test_a_status_leaves_the_rest_of_the_object_alone(apiserver: ApiServer, namespace: str) -> None:
    """Labels, annotations, finalizers, owners and the spec stay; maps lose the keys that are gone."""

    async def story(kube: Kube) -> tuple[Object, Object, Object]:
        owner = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": "o",
            "uid": "0b7c8c0e-6d0e-4f0f-9a3c-0d2a8d3b9d55",
        }
        metadata: dict[str, Any] = {
            "name": "told",
            "namespace": namespace,
            "labels": {"team": "a"},
            "annotations": {"note": "b"},
            "finalizers": ["example.org/kept"],
            "ownerReferences": [owner],
        }
        await kube.create(DISTILLATION_JOBS, {**load_yaml(MANIFEST, "job.yaml"), "metadata": metadata})
        made = await kube.get(DISTILLATION_JOBS, "told", namespace)
        publisher = Publisher(kube)
        latched = Status(handled={"retry-requested-at": "x", "cancel-requested-at": "y"}, phase="Running")
        await publisher.status(made, Status(), latched, time.time())
        first = await kube.get(DISTILLATION_JOBS, "told", namespace)
        fewer = Status(handled={"cancel-requested-at": "y"}, phase="Failed")
        await publisher.status(first, latched, fewer, time.time())
        last = await kube.get(DISTILLATION_JOBS, "told", namespace)
        await kube.merge(DISTILLATION_JOBS, "told", {"metadata": {"finalizers": None}}, namespace)
        return made, first, last

    made, first, last = apiserver.act(story)
    assert first["status"]["handled"] == {"retry-requested-at": "x", "cancel-requested-at": "y"}
    assert last["status"]["handled"] == {"cancel-requested-at": "y"}
    assert last["status"]["phase"] == "Failed"
    for found in (first, last):
        assert rest(found) == rest(made)


def rest(found: Object) -> Object:
    """Return an object without its status, and without the version that every write changes."""
    body = {key: value for key, value in found.items() if key != "status"}
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k != "resourceVersion"}}


def test_who_manages_what_stays_known(apiserver: ApiServer, namespace: str) -> None:
    """The entries of other managers are as before; ours names the status alone."""

    async def managed(kube: Kube) -> list[dict[str, Any]]:
        path = DISTILLATION_JOBS.path(namespace, "managed")
        found = await kube._transport.ask(_get(path), lambda value: value["metadata"]["managedFields"])
        return list(found)

    async def story(kube: Kube) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        body = {**load_yaml(MANIFEST, "job.yaml"), "metadata": {"name": "managed", "namespace": namespace}}
        made = await kube.create(DISTILLATION_JOBS, body)
        before = await managed(kube)
        await Publisher(kube).status(made, Status(), Status(phase="Running"), time.time())
        return before, await managed(kube)

    before, after = apiserver.act(story)
    assert [entry for entry in after if entry.get("subresource") != "status"] == before
    (ours,) = [entry for entry in after if entry.get("subresource") == "status"]
    assert list(ours["fieldsV1"]) == ["f:status"]


def _get(path: str) -> Request:
    return Request("get", DISTILLATION_JOBS.plural, path, {})

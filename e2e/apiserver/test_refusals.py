"""What a real API server refuses, a quota and an immutable object, is told by the status; the job goes on by itself."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest

from controller_world import NAMESPACE, World, ended
from distillery.api.v1alpha1.conditions import Condition, ConditionType, find_condition
from distillery.errors import DistilleryError
from distillery.kube.client import Kube
from distillery.kube.resources import CONFIG_MAPS, NAMESPACES, Resource
from distillery.manifests.metadata import MANAGED_BY_LABEL, MANAGER
from kube.apiserver import ApiServer
from simulated_kuberay import SimulatedKubeRay

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
RELEASE = "distillery-release-router"


async def limit_config_maps(kube: Kube, most: int) -> None:
    """Allow so many ConfigMaps; the figures in use are those that the controller manager would count."""
    hard, used = {"count/configmaps": str(most)}, {"count/configmaps": "0"}
    metadata = {"name": "team", "namespace": NAMESPACE}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata}
    found = await kube.find(QUOTAS, "team", NAMESPACE)
    if found is None:
        found = await kube.create(QUOTAS, {**body, "spec": {"hard": hard}})
    await kube.replace_status(QUOTAS, {**found, "status": {"hard": hard, "used": used}})


async def until_told(world: World, reason: str) -> Condition:
    for _ in range(150):
        with contextlib.suppress(DistilleryError):
            await world.turn()
        found = find_condition((await world.status()).conditions, ConditionType.RECONCILING)
        if found is not None and found.reason == reason:
            return found
    raise AssertionError(f"{reason} was never told: {await world.status()}")


async def play(kube: Kube) -> None:
    world = World()
    api: Any = kube
    world.api, world.now = api, time.time()
    world.kuberay = SimulatedKubeRay(kube, lambda: world.now, NAMESPACE)
    world.start_operator()
    await kube.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    await limit_config_maps(kube, 0)
    metadata = {"name": RELEASE, "namespace": NAMESPACE, "labels": {MANAGED_BY_LABEL: MANAGER}}
    data = {"publisher": "gone/0b7c8c0e-6d0e-4f0f-9a3c-0d2a8d3b9d55", "version": "000000000000"}

    await world.apply()
    held = await until_told(world, "ReconcileError")
    assert held.message.startswith("cannot create ConfigMap ticket-routing-")
    assert "exceeded quota: team, requested: count/configmaps=1, used: count/configmaps=0" in held.message
    assert held.message.endswith("→ raise the quota of the namespace, or delete what is not needed")
    assert held.observed_generation == (await world.status()).observed_generation == 1

    await limit_config_maps(kube, 3)  # snapshot, record and reports
    held = await until_told(world, "NotSubmitted")
    assert held.message.startswith("dataset cannot be started now: cannot create ConfigMap ticket-routing-")

    await limit_config_maps(kube, 100)
    await kube.create(CONFIG_MAPS, {"metadata": metadata, "data": data, "immutable": True})
    held = await until_told(world, "ReleaseNotPublished")
    wanted = f"every gate has passed; but the release cannot be published: cannot write ConfigMap {RELEASE}: "
    assert held.message.startswith(wanted)
    assert "field is immutable when `immutable` is set" in held.message
    assert not ended(await world.status())

    await kube.delete(CONFIG_MAPS, RELEASE, NAMESPACE, uid=(await found(kube, RELEASE))["metadata"]["uid"])
    done = await world.run(ended)
    assert done.release is not None
    assert (await found(kube, RELEASE))["data"]["version"] == done.release.version
    assert [(stage.state, stage.attempt) for stage in done.stages] == [("Succeeded", 1)] * 5


async def found(kube: Kube, name: str) -> dict[str, Any]:
    return await kube.get(CONFIG_MAPS, name, NAMESPACE)


def test_a_quota_and_an_immutable_release_hold_a_job_up_and_say_so(apiserver: ApiServer) -> None:
    apiserver.act(play)

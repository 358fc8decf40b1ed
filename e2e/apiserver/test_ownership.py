"""Attacks on a real API server: what bears a job's labels, or its names, is not the job's; changed rights are mended.

The operator is the real process with the rights that the chart gives it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import children
from chart.test_rights import ELECTION, JOBS, PROFILES
from controller_world import MANIFEST, ended
from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.kube.client import Kube
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    NAMESPACES,
    PODS,
    RAY_JOBS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Resource,
)
from distillery.manifests.metadata import JOB_UID_LABEL, attempt_labels
from distillery.manifests.names import account_name, record_name
from distillery.planning.record import JobRef
from kube.apiserver import ROOT, ApiServer, kubectl, until
from simulated_kuberay import SimulatedCluster, delete

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

PROCESS = Path(__file__).with_name("quick_operator.py")
RBAC = "rbac.authorization.k8s.io"
CLUSTER_ROLES = Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
NAME = "ticket-routing"
POD = {"containers": [{"name": "ray-head", "image": "none"}]}
RAY_JOB = {
    "entrypoint": "true",
    "rayClusterSpec": {"headGroupSpec": {"rayStartParams": {}, "template": {"spec": POD}}},
}
Object = dict[str, Any]
Rule = tuple[list[str], list[str], list[str]]


def rules(wanted: list[Rule]) -> list[Object]:
    return [{"apiGroups": groups, "resources": kinds, "verbs": verbs} for groups, kinds, verbs in wanted]


async def operators_account(kube: Kube, home: str, jobs: list[Rule]) -> None:
    """Give the operator an account with the rights of the chart."""
    subjects = [{"kind": "ServiceAccount", "name": "distillery", "namespace": home}]
    await kube.create(SERVICE_ACCOUNTS, {"metadata": {"name": "distillery", "namespace": home}})
    metadata = {"metadata": {"name": f"{home}-jobs"}}
    await kube.create(CLUSTER_ROLES, {**metadata, "rules": rules([*jobs, *PROFILES])})
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": f"{home}-jobs"}
    await kube.create(CLUSTER_ROLE_BINDINGS, {**metadata, "roleRef": reference, "subjects": subjects})
    local = {"metadata": {"name": "election", "namespace": home}}
    await kube.create(ROLES, {**local, "rules": rules(ELECTION)})
    reference = {"apiGroup": RBAC, "kind": "Role", "name": "election"}
    await kube.create(ROLE_BINDINGS, {**local, "roleRef": reference, "subjects": subjects})


def kubeconfig_of(server: ApiServer, home: str, folder: Path) -> Path:
    token = kubectl(server, "-n", home, "create", "token", "distillery").strip()
    config = load_yaml(server.kubeconfig.read_text(), "kubeconfig")
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = folder / "operator"
    path.write_text(json.dumps(config))
    return path


@asynccontextmanager
async def operator(kubeconfig: Path, home: str, log: Path) -> AsyncIterator[None]:
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "POD_NAMESPACE": home,
        "DISTILLERY_PORT": "0",
        "DISTILLERY_WORKER_IMAGE": "distillery/worker:test",
        "PYTHONPATH": str(ROOT / "operator"),
    }
    with log.open("wb") as stream:
        process = children.start([sys.executable, PROCESS], env=environment, stderr=stream, stdout=stream)
    try:
        yield
    except BaseException:
        sys.stderr.write(log.read_text()[-8000:])
        raise
    finally:
        children.end(process)


Scene = Callable[[Kube, SimulatedCluster], Coroutine[Any, Any, None]]


def play(server: ApiServer, folder: Path, scene: Scene, jobs: list[Rule] = JOBS) -> None:
    """Play a scene before an operator and a simulated KubeRay."""
    home = f"home-{os.urandom(3).hex()}"

    async def conversation() -> None:
        async with Kube.connect(str(server.kubeconfig)) as kube:
            await kube.create(NAMESPACES, {"metadata": {"name": home}})
            await operators_account(kube, home, jobs)
            config = await asyncio.to_thread(kubeconfig_of, server, home, folder)
            cluster = SimulatedCluster(kube, time.time)
            playing = asyncio.create_task(cluster.run())
            try:
                async with operator(config, home, folder / "operator.log"):
                    await scene(kube, cluster)
            finally:
                playing.cancel()
                await asyncio.wait({playing})
            if not playing.cancelled():
                playing.result()

    asyncio.run(conversation())


async def at_work(kube: Kube, cluster: SimulatedCluster, namespace: str, **spec: Any) -> JobRef:
    """Create a job and wait until its teacher stage is held at work."""
    cluster.of(namespace).hold = lambda assignment: assignment.run.stage == "teacher"
    body = load_yaml(MANIFEST, "job.yaml")
    body["metadata"]["namespace"] = namespace
    made = await kube.create(DISTILLATION_JOBS, {**body, "spec": {**body["spec"], **spec}})
    await until(lambda: working(kube, namespace), "the teacher stage")
    return JobRef(NAME, namespace, made["metadata"]["uid"])


async def status_of(kube: Kube, namespace: str) -> Status:
    found = await kube.get(DISTILLATION_JOBS, NAME, namespace)
    return Status.model_validate(found.get("status") or {})


async def working(kube: Kube, namespace: str) -> bool:
    status = await status_of(kube, namespace)
    return any(stage.name == "teacher" and stage.progress for stage in status.stages)


async def over(kube: Kube, namespace: str) -> Status | None:
    status = await status_of(kube, namespace)
    return status if ended(status) else None


def thing(resource: Resource, name: str, namespace: str, labels: Object, **more: Any) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **more}


async def attack(kube: Kube, ref: JobRef, other: str) -> list[tuple[Resource, Object]]:
    """Put strangers' objects with the job's labels beside the job and into another namespace."""
    only_uid = {JOB_UID_LABEL: ref.uid}
    full = attempt_labels(ref, "teacher", 1)
    made: list[tuple[Resource, Object]] = []

    async def create(resource: Resource, body: Object) -> Object:
        found = await kube.create(resource, body)
        made.append((resource, found))
        return found

    for place in (other, ref.namespace):
        await create(RAY_JOBS, thing(RAY_JOBS, "app-config", place, only_uid, spec=RAY_JOB))
        await create(RAY_JOBS, thing(RAY_JOBS, record_name(ref)[:47], place, only_uid, spec=RAY_JOB))
        await create(PODS, thing(PODS, "sleeper", place, full, spec=POD))
        refused = await create(RAY_JOBS, thing(RAY_JOBS, "refused", place, full, spec=RAY_JOB))
        status = {"jobDeploymentStatus": "ValidationFailed", "message": "text of tenant B"}
        await kube.replace_status(RAY_JOBS, {**refused, "status": status})
        await create(CONFIG_MAPS, thing(CONFIG_MAPS, "other-reports", place, full))
    (genuine,) = [
        job
        for job in await kube.list(RAY_JOBS, ref.namespace)
        if job["metadata"].get("ownerReferences") and "-teacher-" in job["metadata"]["name"]
    ]
    copied = {**thing(RAY_JOBS, "debug-me", ref.namespace, full), "spec": genuine["spec"]}
    copied["metadata"]["ownerReferences"] = genuine["metadata"]["ownerReferences"]
    await create(RAY_JOBS, copied)
    return made


def test_what_only_bears_a_jobs_labels_leads_to_no_deletion_and_holds_nothing_up(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, cluster: SimulatedCluster) -> None:
        evil = f"evil-{os.urandom(3).hex()}"
        await kube.create(NAMESPACES, {"metadata": {"name": evil}})
        ref = await at_work(kube, cluster, namespace, ttlSecondsAfterFinished=1)
        theirs = await kube.create(CONFIG_MAPS, thing(CONFIG_MAPS, "app-config", namespace, {}))
        record = await kube.get(CONFIG_MAPS, record_name(ref), namespace)
        made = await attack(kube, ref, evil)
        await asyncio.sleep(13)  # two sweeps and two looks
        assert await kube.get(CONFIG_MAPS, "app-config", namespace) == theirs
        now = await kube.get(CONFIG_MAPS, record_name(ref), namespace)
        assert now["metadata"]["uid"] == record["metadata"]["uid"]
        cluster.of(namespace).hold = lambda assignment: False
        status = await until(lambda: over(kube, namespace), "its end")
        assert status is not None
        assert (status.phase, [s.attempt for s in status.stages]) == ("Succeeded", [1] * 5)
        strange = {body["metadata"]["uid"] for _, body in made}

        async def expired() -> bool:
            left = await kube.list(RAY_JOBS, namespace, labels=f"{JOB_UID_LABEL}={ref.uid}")
            return {job["metadata"]["uid"] for job in left} <= strange

        await until(expired, "the time to live")
        for resource, body in made:
            metadata = body["metadata"]
            found = await kube.find(resource, metadata["name"], metadata["namespace"])
            assert found is not None, f"{resource.kind} {metadata['name']} was deleted"
            assert found["metadata"]["uid"] == metadata["uid"]
        assert "tenant B" not in json.dumps(await kube.get(CONFIG_MAPS, record_name(ref), namespace))

    play(apiserver, tmp_path, scene)


def test_a_record_of_somebody_else_is_neither_used_nor_changed(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, cluster: SimulatedCluster) -> None:
        ref = await at_work(kube, cluster, namespace)
        await delete(kube, CONFIG_MAPS, await kube.get(CONFIG_MAPS, record_name(ref), namespace))
        body = thing(CONFIG_MAPS, record_name(ref), namespace, {}, data={"mine": "yes"})
        theirs = await kube.create(CONFIG_MAPS, body)

        async def told() -> bool:
            conditions = (await status_of(kube, namespace)).conditions
            found = find_condition(conditions, ConditionType.RECONCILING)
            return found is not None and found.reason == "NameTaken" and record_name(ref) in found.message

        await until(told, "the condition")
        await asyncio.sleep(6)
        assert await kube.get(CONFIG_MAPS, record_name(ref), namespace) == theirs
        await delete(kube, CONFIG_MAPS, theirs)
        cluster.of(namespace).hold = lambda assignment: False
        status = await until(lambda: over(kube, namespace), "its end")
        assert status is not None
        assert status.phase == "Succeeded"

    play(apiserver, tmp_path, scene)


async def change_rights(kube: Kube, ref: JobRef) -> None:
    name, place = account_name(ref), ref.namespace
    await kube.merge(ROLES, name, {"rules": []}, place)
    await kube.merge(SERVICE_ACCOUNTS, name, {"automountServiceAccountToken": True}, place)
    binding = await kube.get(ROLE_BINDINGS, name, place)
    await delete(kube, ROLE_BINDINGS, binding)
    metadata = {k: v for k, v in binding["metadata"].items() if k in ("name", "namespace", "labels")}
    metadata["ownerReferences"] = binding["metadata"]["ownerReferences"]
    reference = {**binding["roleRef"], "name": "elsewhere"}
    await kube.create(ROLE_BINDINGS, {**binding, "metadata": metadata, "roleRef": reference})


async def rights(kube: Kube, ref: JobRef) -> Object:
    """Return what the operator has rendered of a job's rights, and their versions."""
    name, place = account_name(ref), ref.namespace
    role = await kube.get(ROLES, name, place)
    binding = await kube.get(ROLE_BINDINGS, name, place)
    account = await kube.get(SERVICE_ACCOUNTS, name, place)
    return {
        "rules": role["rules"],
        "binding": (binding["roleRef"], binding["subjects"]),
        "automount": account["automountServiceAccountToken"],
    }


async def versions(kube: Kube, ref: JobRef) -> list[str]:
    kinds = (ROLES, ROLE_BINDINGS, SERVICE_ACCOUNTS)
    found = [await kube.get(kind, account_name(ref), ref.namespace) for kind in kinds]
    return [item["metadata"]["resourceVersion"] for item in found]


def test_rights_that_were_changed_by_hand_are_mended_once(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, cluster: SimulatedCluster) -> None:
        ref = await at_work(kube, cluster, namespace)
        before = await rights(kube, ref)
        await change_rights(kube, ref)
        assert await rights(kube, ref) != before
        cluster.of(namespace).hold = lambda assignment: assignment.run.stage == "filter"

        async def mended() -> bool:
            return await rights(kube, ref) == before

        await until(mended, "the mending")
        then = await versions(kube, ref)
        cluster.of(namespace).hold = lambda assignment: False
        status = await until(lambda: over(kube, namespace), "its end")
        assert status is not None
        assert (status.phase, [s.attempt for s in status.stages]) == ("Succeeded", [1] * 5)
        assert await versions(kube, ref) == then

    play(apiserver, tmp_path, scene)


OLD_CHART: list[Rule] = [
    (groups, kinds, [verb for verb in verbs if verb != "update" or kinds[0] not in ("roles", "rolebindings")])
    for groups, kinds, verbs in JOBS
]


def test_an_operator_whose_chart_is_old_says_so_and_mends_once_it_may(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    async def scene(kube: Kube, cluster: SimulatedCluster) -> None:
        ref = await at_work(kube, cluster, namespace)
        await kube.merge(ROLES, account_name(ref), {"rules": []}, namespace)
        cluster.of(namespace).hold = lambda assignment: False

        async def told() -> bool:
            conditions = (await status_of(kube, namespace)).conditions
            found = find_condition(conditions, ConditionType.RECONCILING)
            return (
                found is not None and found.reason == "RightsDiffer" and "upgrade the chart" in found.message
            )

        await until(told, "the condition")
        for role in await kube.list(CLUSTER_ROLES):
            if role["metadata"]["name"].startswith("home-") and role["rules"] == rules(
                [*OLD_CHART, *PROFILES]
            ):
                await kube.replace(CLUSTER_ROLES, {**role, "rules": rules([*JOBS, *PROFILES])})
        status = await until(lambda: over(kube, namespace), "its end")
        assert status is not None
        assert (status.phase, [s.attempt for s in status.stages]) == ("Succeeded", [1] * 5)

    play(apiserver, tmp_path, scene, OLD_CHART)

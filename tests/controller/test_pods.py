"""What an attempt's pods do is told in words, waits for nobody's fault, and is repaired by an edit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from controller_world import NAME, NAMESPACE, World, ended
from distillery.api.v1alpha1.conditions import Condition, ConditionType, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.controller.projection import project_pod
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
)
from distillery.manifests.names import record_name
from distillery.planning.children import PodView
from distillery.planning.control import timestamp
from distillery.planning.record import AttemptRecord, JobRef

QUOTA = "exceeded quota: pods, requested: pods=1, used: pods=0, limited: pods=0"
ACCOUNT = 'error looking up service account support/s3-writer: serviceaccount "s3-writer" not found'
SECURITY = 'violates PodSecurity "restricted:latest": seccompProfile (container "ray-head" must set …)'
KYVERNO = 'admission webhook "validate.kyverno.svc" denied the request: image is not signed'
WORKERS = {"replicas": 2, "resources": {"cpu": "100m", "memory": "1Gi"}}


def shown(status: Status) -> tuple[str, str]:
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    assert isinstance(found, Condition)
    return found.reason, found.message


def is_at(stage: str, reason: str) -> Any:
    return lambda status: (
        any(s.name == stage and s.state == "Running" for s in status.stages) and shown(status)[0] == reason
    )


async def record(world: World) -> dict[str, AttemptRecord]:
    job = await world.api.get(DISTILLATION_JOBS, NAME, NAMESPACE)
    ref = JobRef(NAME, NAMESPACE, job["metadata"]["uid"])
    found = await world.api.get(CONFIG_MAPS, record_name(ref), NAMESPACE)
    return {key: AttemptRecord.model_validate_json(text) for key, text in found["data"].items()}


async def pass_time(world: World, seconds: float, step: float = 30.0) -> None:
    for _ in range(int(seconds / step)):
        await world.turn(step)


@pytest.mark.parametrize("words", [QUOTA, ACCOUNT, SECURITY, KYVERNO])
@pytest.mark.parametrize("role", ["head", "worker"])
def test_a_pod_that_may_not_be_created_is_told_in_the_servers_words_and_costs_no_try(
    words: str, role: str
) -> None:
    async def run() -> World:
        world = World()
        world.kuberay.refuse = lambda asked: words if asked == role else ""
        await world.apply(teacher={**world.manifest["spec"]["teacher"], "workers": WORKERS})
        stage = "dataset" if role == "head" else "teacher"
        waiting = await world.run(is_at(stage, "WaitingForPods"), turns=30)
        name = (await world.api.list(RAY_CLUSTERS))[0]["metadata"]["name"]
        pod = f'pods "{name}-{role}-…" is forbidden: {words}'
        assert shown(waiting) == ("WaitingForPods", f"{stage} attempt 1: {pod}")
        assert waiting.phase == "Running"
        writes = len([w for w in world.api.writes if w[0] == "status" and w[1] == "distillationjobs"])
        await pass_time(world, 7200)  # eight times pendingDeadline
        assert await world.status() == waiting
        after = [w for w in world.api.writes if w[0] == "status" and w[1] == "distillationjobs"]
        assert len(after) == writes, "the same refusal under another name is nothing new"
        world.kuberay.refuse = lambda asked: ""
        done = await world.run(ended)
        assert [(s.name, s.state, s.attempt) for s in done.stages] == [
            (s.name, "Succeeded", 1) for s in done.stages
        ]
        return world

    asyncio.run(run())


def test_the_wait_for_pods_begins_anew_when_they_may_be_created_again() -> None:
    async def run() -> None:
        world = World()
        world.kuberay.refuse = lambda role: QUOTA
        await world.apply()
        await world.run(is_at("dataset", "WaitingForPods"), turns=30)
        await pass_time(world, 3600)
        world.kuberay.refuse = lambda role: ""
        [cluster] = await world.api.list(RAY_CLUSTERS)
        world.kuberay.tick = lambda: asyncio.sleep(0)  # type: ignore[method-assign]  # nothing moves any more
        await world.api.replace_status(RAY_CLUSTERS, {**cluster, "status": {}})
        await world.turn()
        freed = world.now
        world.start_operator()  # what it knows of the past is in the record
        await pass_time(world, 870)
        assert (await record(world))["dataset.1"].freed_at == freed
        assert (await world.status()).stages[0].attempt == 1
        assert (await record(world))["dataset.1"].control == ""
        await pass_time(world, 90)
        assert (await record(world))["dataset.1"].control_reason == "PendingTooLong"

    asyncio.run(run())


def test_only_the_deadline_ends_the_wait_for_pods_that_may_not_be_created() -> None:
    async def run() -> None:
        world = World()
        world.kuberay.refuse = lambda role: QUOTA
        await world.apply(activeDeadlineSeconds=3600)
        await world.run(is_at("dataset", "WaitingForPods"), turns=30)
        await pass_time(world, 3500)
        assert shown(await world.status())[0] == "WaitingForPods"
        await pass_time(world, 300)
        status = await world.status()
        assert (status.phase, shown(status)[0]) == ("Failed", "DeadlineExceeded")
        assert status.stages[0].attempt == 1

    asyncio.run(run())


def test_pods_that_may_not_be_created_use_no_gpus() -> None:
    async def run() -> None:
        world = World()
        at_work(world, "teacher")
        world.kuberay.refuse = lambda role: QUOTA if role == "worker" else ""
        gpus = {"replicas": 2, "resources": {"nvidia.com/gpu": "1"}}
        teacher = {**world.manifest["spec"]["teacher"], "workers": gpus}
        await world.apply(teacher=teacher, budget={"maxGPUHours": 1})
        await world.run(is_at("teacher", "WaitingForPods"), turns=60)
        await pass_time(world, 7200)
        status = await world.status()
        assert (shown(status)[0], status.cost.gpu_hours) == ("WaitingForPods", None)
        world.kuberay.refuse = lambda role: ""
        await world.run(is_at("teacher", "StageRunning"))
        await pass_time(world, 1500)
        status = await world.status()
        assert shown(status)[0] == "StageRunning"
        assert status.cost.gpu_hours is not None
        assert 0.8 < status.cost.gpu_hours < 0.9  # two GPUs for 25 minutes
        await pass_time(world, 600)
        assert (await world.status()).phase == "Stopped"

    asyncio.run(run())


def test_the_end_of_a_wait_for_pods_counts_no_gpus_either() -> None:
    async def run() -> None:
        world = World()
        world.kuberay.refuse = lambda role: QUOTA if role == "worker" else ""
        gpus = {"replicas": 2, "resources": {"nvidia.com/gpu": "1"}}
        await world.apply(
            teacher={**world.manifest["spec"]["teacher"], "workers": gpus}, activeDeadlineSeconds=3600
        )
        await world.run(is_at("teacher", "WaitingForPods"), turns=60)
        await pass_time(world, 7200)
        status = await world.status()
        assert (status.phase, status.cost.gpu_hours) == ("Failed", None)

    asyncio.run(run())


def at_work(world: World, stage: str) -> None:
    """Let a stage go on for ever once it has begun."""
    world.kuberay.replaces = True
    world.kuberay.hold = lambda assignment: assignment.run.stage == stage


async def end_pod(world: World, name: str, **status: Any) -> None:
    """Let a pod end, and KubeRay take it away: the cache sees the end, then the deletion."""
    pod = await world.api.get(PODS, name, NAMESPACE)
    await world.api.replace_status(PODS, {**pod, "status": status})
    await world.look()
    await delete_pod(world, name)


async def delete_pod(world: World, name: str) -> None:
    uid = (await world.api.get(PODS, name, NAMESPACE))["metadata"]["uid"]
    await world.api.delete(PODS, name, NAMESPACE, uid=uid)


FAILED = {
    "phase": "Failed",
    "containerStatuses": [
        {"name": "ray-worker", "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}
    ],
}


@pytest.mark.parametrize("begun", [True, False])
def test_pods_that_die_and_come_again_are_counted_with_the_last_reason_and_its_repair(begun: bool) -> None:
    async def run() -> None:
        world = World()
        at_work(world, "teacher")
        await world.apply(teacher={**world.manifest["spec"]["teacher"], "workers": WORKERS})
        if not begun:
            world.kuberay.refuse = lambda role: "for now" if role == "worker" else ""
            await world.run(is_at("teacher", "WaitingForPods"))
            world.kuberay.refuse = lambda role: ""
            world.kuberay._work = lambda job: asyncio.sleep(0)  # type: ignore[assignment, method-assign]
            await world.turn()
        status = await world.run(is_at("teacher", "StageRunning"))
        if begun:
            await pass_time(world, 5, 1)
        [job] = [
            j["metadata"]["name"]
            for j in await world.api.list(RAY_JOBS)
            if "teacher" in j["metadata"]["name"]
        ]
        assert shown(status) == ("StageRunning", "teacher attempt 1 is running")
        for number in (1, 2):
            await end_pod(world, f"{job}-worker-{number % 2}", **FAILED)
            await world.turn()
        await world.turn(10)  # what only changes a message is written now and then
        last = f"{job}-worker-0"
        told = (
            f"2 of its pods have ended early, the last {last}: container ray-worker ended with exit code 137"
            " (Error); its request of 100m CPU is less than Ray needs (250m) → raise spec.teacher.workers.resources"
        )
        running = ("StageRunning", f"teacher attempt 1 is running; {told}")
        assert shown(await world.status()) == (
            running if begun else ("WaitingForPods", f"teacher attempt 1: {told}")
        )

    asyncio.run(run())


def test_a_lost_worker_that_cannot_come_again_is_shown_beside_the_running_stage() -> None:
    async def run(lost: Mapping[str, Any] | None) -> str:
        world = World()
        at_work(world, "teacher")
        await world.apply(teacher={**world.manifest["spec"]["teacher"], "workers": WORKERS})
        await world.run(is_at("teacher", "StageRunning"))
        await pass_time(world, 5, 1)
        [job] = [
            j["metadata"]["name"]
            for j in await world.api.list(RAY_JOBS)
            if "teacher" in j["metadata"]["name"]
        ]
        if lost is None:
            world.kuberay.refuse = lambda role: QUOTA
        await delete_pod(world, f"{job}-worker-1")
        await world.turn()
        if lost is not None:
            pod = await world.api.get(PODS, f"{job}-worker-1", NAMESPACE)
            await world.api.replace_status(PODS, {**pod, "status": lost})
            await world.turn()
        await pass_time(world, 7200)
        status = await world.status()
        assert status.progress.message == "1 of 10 rows"
        reason, message = shown(status)
        assert reason == "StageRunning"
        assert (await record(world))["teacher.1"].control == ""
        return message.replace(job, "JOB")

    gone = (
        "1 of its pods has ended early, the last JOB-worker-1: it was deleted; its request of 100m CPU is less"
        " than Ray needs (250m) → raise spec.teacher.workers.resources"
    )
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes: 3 Insufficient nvidia.com/gpu",
    }
    assert asyncio.run(run({"phase": "Pending", "conditions": [condition]})) == (
        "teacher attempt 1 is running; pod JOB-worker-1: Unschedulable: 0/3 nodes: 3 Insufficient nvidia.com/gpu;"
        f" {gone}"
    )
    assert asyncio.run(run(None)) == (
        f'teacher attempt 1 is running; pods "JOB-c-worker-…" is forbidden: {QUOTA}; {gone}'
    )


def test_a_head_that_cannot_come_again_waits_for_its_pod_and_is_not_taken_for_silent() -> None:
    async def run() -> None:
        world = World()
        at_work(world, "teacher")
        await world.apply()
        await world.run(is_at("teacher", "StageRunning"))
        await pass_time(world, 5, 1)
        [job] = [
            j["metadata"]["name"]
            for j in await world.api.list(RAY_JOBS)
            if "teacher" in j["metadata"]["name"]
        ]
        world.kuberay.refuse = lambda role: QUOTA
        world.kuberay._work = lambda job: asyncio.sleep(0)  # type: ignore[assignment, method-assign]
        await delete_pod(world, f"{job}-head")
        await pass_time(world, 3600)
        reason, message = shown(await world.status())
        assert reason == "WaitingForPods"
        assert message.startswith(
            f'teacher attempt 1: pods "{job}-c-head-…" is forbidden: {QUOTA}; 1 of its pods'
        )
        assert (await world.status()).progress.message == message
        world.kuberay.refuse = lambda role: ""
        await pass_time(world, 240)
        assert (await record(world))["teacher.1"].control == ""
        await pass_time(world, 240)
        assert (await record(world))["teacher.1"].control_reason == "HeartbeatLost"

    asyncio.run(run())


async def stuck(world: World) -> None:
    """Bring a job to an attempt whose pods cannot come up."""
    world.kuberay._work = lambda job: asyncio.sleep(0)  # type: ignore[assignment, method-assign]
    await world.run(lambda status: bool(status.stages) and status.stages[0].state == "Running")
    await pass_time(world, 60, 10)


def profile(image: str) -> dict[str, Any]:
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "DistillationProfile",
        "metadata": {"name": "standard"},
        "spec": {"image": image},
    }


def test_an_attempt_that_has_not_begun_is_replaced_when_its_image_is_edited_and_somebody_asks() -> None:
    async def run() -> None:
        world = World()
        made = await world.api.create(DISTILLATION_PROFILES, profile("example.com/brokn"))
        await world.apply(profile="standard")
        await stuck(world)
        await world.api.replace(DISTILLATION_PROFILES, {**made, "spec": {"image": "example.com/repaired"}})
        await pass_time(world, 60, 10)
        assert [e.control for e in (await record(world)).values()] == [""], (
            "a snapshot holds for its generation"
        )
        asked = world.now
        await world.annotate(retry_requested_at=timestamp(world.now))
        await world.run(lambda status: status.stages[0].attempt == 2, turns=10)
        entries = await record(world)
        assert entries["dataset.1"].control_reason == "Superseded"
        assert entries["dataset.2"].started_at - asked <= 10
        [job] = await world.api.list(RAY_JOBS)
        image = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
        assert image == "example.com/repaired"

    asyncio.run(run())


def test_resources_replace_an_attempt_that_has_not_begun_and_nothing_else_does() -> None:
    async def run(edit: dict[str, Any], begun: bool, known: bool = True) -> list[tuple[str, str]]:
        world = World()
        teacher = {**world.manifest["spec"]["teacher"], "workers": WORKERS}
        await world.apply(teacher=teacher)
        at_work(world, "teacher")
        await world.run(is_at("teacher", "StageRunning"))
        if begun:
            await pass_time(world, 5, 1)
        else:
            world.kuberay._work = lambda job: asyncio.sleep(0)  # type: ignore[assignment, method-assign]
        if not known:  # as the first release wrote it
            job = await world.api.get(DISTILLATION_JOBS, NAME, NAMESPACE)
            name = record_name(JobRef(NAME, NAMESPACE, job["metadata"]["uid"]))
            entry = (await record(world))["teacher.1"].model_copy(update={"shape": ""})
            await world.api.merge(CONFIG_MAPS, name, {"data": {"teacher.1": entry.dump()}}, NAMESPACE)
        changed = {"teacher": {**teacher, **edit}} if "workers" in edit else edit
        await world.apply(**changed)
        await pass_time(world, 10, 1)
        entries = await record(world)
        return [(key, entry.control_reason) for key, entry in entries.items() if entry.stage == "teacher"]

    larger = {"workers": {**WORKERS, "resources": {"cpu": 2, "memory": "4Gi"}}}
    assert asyncio.run(run(larger, begun=False)) == [("teacher.1", "Superseded"), ("teacher.2", "")]
    more = {"workers": {**WORKERS, "limits": {"memory": "4Gi"}}}
    assert asyncio.run(run(more, begun=False)) == [("teacher.1", "Superseded"), ("teacher.2", "")]
    assert asyncio.run(run(larger, begun=True)) == [("teacher.1", "")]
    assert asyncio.run(run({"activeDeadlineSeconds": 90000}, begun=False)) == [("teacher.1", "")]
    assert asyncio.run(run(larger, begun=False, known=False)) == [("teacher.1", "")]


def test_small_workers_are_warned_of_once_and_never_refused() -> None:
    async def run() -> World:
        world = World()
        await world.apply(teacher={**world.manifest["spec"]["teacher"], "workers": WORKERS})
        assert (await world.run(ended)).phase == "Succeeded"
        return world

    assert set(asyncio.run(run()).told.complaints) == {
        "WorkersTooSmall: spec.teacher.workers.resources.cpu: 100m is little: on a busy node Ray does not start"
        " before its probes give up → write at least 250m"
    }


@pytest.mark.parametrize(
    ("status", "ended_as"),
    [
        (FAILED, "container ray-worker ended with exit code 137 (Error)"),
        (
            {"phase": "Failed", "message": "The node was low on memory"},
            "it failed: The node was low on memory",
        ),
        ({"phase": "Succeeded"}, "it succeeded"),
        ({"phase": "Running"}, ""),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [{"name": "wait", "state": {"terminated": {"exitCode": 0}}}],
            },
            "",
        ),
        (
            {
                "phase": "Running",
                "initContainerStatuses": [{"name": "wait", "state": {"terminated": {"exitCode": 0}}}],
                "containerStatuses": [
                    {"name": "ray-head", "state": {"terminated": {"exitCode": 1, "message": "no route"}}}
                ],
            },
            "container ray-head ended with exit code 1: no route",
        ),
        ({"phase": 7, "containerStatuses": "nonsense"}, ""),
    ],
)
def test_how_a_pod_ended_is_read_off_its_containers(status: dict[str, Any], ended_as: str) -> None:
    view = project_pod({"metadata": {"name": "p"}, "status": status})
    assert isinstance(view, PodView)
    assert view.ended == ended_as


def test_the_record_of_an_attempt_without_news_is_what_the_first_release_wrote_and_its_shape() -> None:
    async def run() -> set[str]:
        world = World()
        await world.apply()
        await world.run(ended)
        job = await world.api.get(DISTILLATION_JOBS, NAME, NAMESPACE)
        found = await world.api.get(
            CONFIG_MAPS, record_name(JobRef(NAME, NAMESPACE, job["metadata"]["uid"])), NAMESPACE
        )
        return set(json.loads(found["data"]["teacher.1"]))

    known = {
        "stage",
        "attempt",
        "recipe",
        "identity",
        "generation",
        "name",
        "startedAt",
        "storage",
        "endedAt",
    }
    assert asyncio.run(run()) == known | {"shape", "rayJobUid"}

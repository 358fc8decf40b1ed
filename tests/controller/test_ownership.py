"""The operator acts on its own objects only: attacks by name and label, taken names, changed rights, older children."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controller_world import NAME, NAMESPACE, World, ended
from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.controller.belongings import is_own
from distillery.controller.cache import Cache, KnownJob
from distillery.controller.handlers import Handlers
from distillery.controller.projection import project_cluster, project_pod, project_rayjob
from distillery.controller.queue import WorkQueue
from distillery.kube import errors as kube_errors
from distillery.kube.resources import (
    CONFIG_MAPS,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Resource,
)
from distillery.planning.bookkeeping import Removal, expired
from distillery.planning.observing import Facts, is_live
from distillery.planning.ownership import children_of
from distillery.planning.record import AttemptRecord, JobRef
from distillery.stages.assignment import Assignment
from simulated_kuberay import delete

Object = dict[str, Any]
LABELS = {"app.kubernetes.io/managed-by": "distillery", "distillery.dev/job-uid": "uid-1"}
TEACHER = {"distillery.dev/stage": "teacher", "distillery.dev/attempt": "1"}


def thing(resource: Resource, name: str, namespace: str, labels: Object | None = None, **more: Any) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **more}


async def strangers(world: World, resource: Resource, name: str, labels: Object) -> Object:
    """Create an object of somebody else; a RayJob of theirs has failed already, so nothing happens to it any more."""
    made = await world.api.create(resource, thing(resource, name, NAMESPACE, labels, data={"x": "y"}))
    if resource is RAY_JOBS:
        return await world.api.replace_status(RAY_JOBS, {**made, "status": {"jobDeploymentStatus": "Failed"}})
    return made


def held(world: World, stage: str) -> None:
    world.kuberay.hold = lambda assignment: assignment.run.stage == stage


def at_work(stage: str) -> Any:
    return lambda status: any(part.name == stage and part.progress for part in status.stages)


async def working(world: World, stage: str) -> None:
    """Bring a job to where a stage is at work, for as long as it is held."""
    held(world, stage)
    await world.apply()
    await world.run(at_work(stage))


def reconciling(status: Status) -> tuple[str, str]:
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    assert found is not None
    return found.reason, found.message


async def record(world: World) -> dict[str, AttemptRecord]:
    found = await world.api.get(CONFIG_MAPS, "ticket-routing-uid1-record", NAMESPACE)
    return {key: AttemptRecord.model_validate_json(text) for key, text in found["data"].items()}


@pytest.mark.parametrize("namespace", ["evil", NAMESPACE])
def test_a_strangers_rayjob_named_like_a_config_map_leads_to_no_deletion(namespace: str) -> None:
    async def run() -> None:
        world = World()
        await working(world, "teacher")
        await world.api.create(CONFIG_MAPS, thing(CONFIG_MAPS, "app-config", NAMESPACE, data={"k": "v"}))
        for name in ("app-config", "ticket-routing-uid1-record"):
            for labels in (LABELS, {**LABELS, "distillery.dev/stage": "teacher"}):
                body = thing(RAY_JOBS, name, namespace, labels)
                if await world.api.find(RAY_JOBS, name, namespace) is None:
                    await world.api.create(RAY_JOBS, body)
        world.kuberay.namespace = "nowhere"
        for _ in range(10):
            await world.turn(30.0)
        deleted = [write for write in world.api.writes if write[0] == "delete"]
        assert not [write for write in deleted if write[1] in ("configmaps", "rayjobs")]
        assert await world.api.find(CONFIG_MAPS, "app-config", NAMESPACE) is not None
        assert "teacher.1" in await record(world)

    asyncio.run(run())


def test_a_forged_rayjob_named_like_the_record_takes_nothing_else_with_it() -> None:
    """Somebody in the job's namespace makes the job its controller: as the job's own leftover it goes, but it alone."""

    async def run() -> None:
        world = World()
        await working(world, "teacher")
        genuine = await world.api.get(RAY_JOBS, (await record(world))["teacher.1"].name, NAMESPACE)
        labels = {**genuine["metadata"]["labels"], "distillery.dev/attempt": "99"}
        await world.api.create(CONFIG_MAPS, thing(CONFIG_MAPS, "app-config", NAMESPACE, data={"k": "v"}))
        names = [
            "app-config",
            *(f"ticket-routing-uid1-{part}" for part in ("record", "reports", "profile-1")),
        ]
        before = [await world.api.get(CONFIG_MAPS, name, NAMESPACE) for name in names]
        for name in names:
            await world.api.create(
                RAY_JOBS, {**genuine, "metadata": {**genuine["metadata"], "name": name, "labels": labels}}
            )
        world.kuberay.namespace = "nowhere"
        for _ in range(3):
            await world.turn(10.0)
        after = [await world.api.get(CONFIG_MAPS, name, NAMESPACE) for name in names]
        assert [m["metadata"]["uid"] for m in after] == [m["metadata"]["uid"] for m in before]
        left = [job["metadata"]["name"] for job in await world.api.list(RAY_JOBS)]
        assert not set(names) & set(left)

    asyncio.run(run())


def test_an_assignment_is_deleted_only_if_it_is_the_jobs_own() -> None:
    """Somebody has put their own ConfigMap in the place of an assignment."""

    async def run() -> None:
        world = World()
        await world.apply(ttlSecondsAfterFinished=60)
        await world.run(ended)
        name = (await record(world))["teacher.1"].name
        await world.remove(CONFIG_MAPS, name)
        theirs = await world.api.create(CONFIG_MAPS, thing(CONFIG_MAPS, name, NAMESPACE, LABELS))
        for _ in range(5):
            await world.turn(30.0)
        assert await world.api.list(RAY_JOBS) == []
        assert await world.api.get(CONFIG_MAPS, name, NAMESPACE) == theirs
        names = [name for entry in (await record(world)).values() if (name := entry.name)]
        left = [body["metadata"]["name"] for body in await world.api.list(CONFIG_MAPS)]
        assert set(names) & set(left) == {name for name in names if name == theirs["metadata"]["name"]}

    asyncio.run(run())


@pytest.mark.parametrize("namespace", ["evil", NAMESPACE])
def test_a_strangers_pod_holds_nothing_up_and_its_rayjob_says_nothing(namespace: str) -> None:
    async def run() -> tuple[Status, dict[str, AttemptRecord]]:
        world = World()
        await working(world, "teacher")
        labels = {**LABELS, **TEACHER}
        await world.api.create(PODS, thing(PODS, "sleeper", namespace, labels))
        refused = {"jobDeploymentStatus": "ValidationFailed", "message": "text of tenant B"}
        made = await world.api.create(RAY_JOBS, thing(RAY_JOBS, "refused", namespace, labels))
        await world.api.replace_status(RAY_JOBS, {**made, "status": refused})
        await world.annotate(suspend_requested_at="2026-11-03T12:30:00Z")
        for _ in range(10):
            await world.turn()
        return await world.status(), await record(world)

    status, entries = asyncio.run(run())
    assert status.phase == "Suspended"
    assert entries["teacher.1"].ended_at is not None
    assert "tenant" not in str((status, entries))


def test_a_copy_of_a_running_rayjob_is_no_second_attempt_and_is_left_alone() -> None:
    """`kubectl get rayjob X -o yaml`, another name, `kubectl apply`: labels and owner are copied."""

    async def run() -> None:
        world = World()
        await working(world, "teacher")
        name = (await record(world))["teacher.1"].name
        original = await world.api.get(RAY_JOBS, name, NAMESPACE)
        copied = {**original["metadata"], "name": "debug-me"}
        copy = await world.api.create(RAY_JOBS, {**original, "metadata": copied})
        held(world, "none")
        assert (await world.run(ended)).phase == "Succeeded"
        found = await world.api.get(RAY_JOBS, "debug-me", NAMESPACE)
        assert found["metadata"]["uid"] == copy["metadata"]["uid"]

    asyncio.run(run())


async def names_of_a_job() -> list[tuple[Resource, str]]:
    """Return what a job makes in its namespace for its first two stages, in order."""
    world = World()
    held(world, "teacher")
    made: list[tuple[Resource, str]] = []
    kinds = (CONFIG_MAPS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, RAY_JOBS)
    await world.apply()
    await world.run(at_work("teacher"))
    for verb, plural, name in world.api.writes:
        made += [(kind, name) for kind in kinds if verb == "create" and kind.plural == plural]
    return made


TAKEN = asyncio.run(names_of_a_job())


@pytest.mark.parametrize(("resource", "name"), TAKEN, ids=lambda part: getattr(part, "kind", part))
@pytest.mark.parametrize("labels", [{}, LABELS], ids=["unmarked", "marked"])
def test_an_object_of_somebody_else_is_never_used_and_the_condition_names_it(
    resource: Resource, name: str, labels: Object
) -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        await world.apply()
        theirs = await strangers(world, resource, name, labels)
        for _ in range(60):
            await world.turn()
            status = await world.status()
            if status.conditions and reconciling(status)[0] == "NameTaken":
                break
        for _ in range(5):
            await world.turn()
        assert await world.api.get(resource, name, NAMESPACE) == theirs
        told = await world.status()
        await delete(world.api, resource, theirs)
        return told, await world.run(ended)

    told, done = asyncio.run(run())
    reason, message = reconciling(told)
    assert reason == "NameTaken"
    assert message == (
        f"{resource.kind} {name} is not this job's: it lacks the labels or the controller that the operator gives "
        "→ delete it, or save it under another name"
    )
    assert done.phase == "Succeeded"


@pytest.mark.parametrize(
    ("labels", "data"),
    [
        ({}, {"publisher": "ticket-routing/uid-1"}),
        ({"app.kubernetes.io/managed-by": "distillery"}, {}),
        ({"app.kubernetes.io/managed-by": "distillery"}, {"publisher": "nobody"}),
        ({"app.kubernetes.io/managed-by": "distillery"}, {"publisher": "/uid-1"}),
    ],
)
def test_a_config_map_that_is_no_release_of_ours_is_not_overwritten(labels: Object, data: Object) -> None:
    async def run() -> Status:
        world = World()
        name = "distillery-release-router"
        await world.apply()
        theirs = await world.api.create(CONFIG_MAPS, thing(CONFIG_MAPS, name, NAMESPACE, labels, data=data))
        status = await world.run(ended)
        await world.turn(100.0)
        assert await world.api.get(CONFIG_MAPS, name, NAMESPACE) == theirs
        return status

    ready = find_condition(asyncio.run(run()).conditions, ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.message) == (
        "True",
        "every gate has passed; but ReleaseConflict: ConfigMap distillery-release-router exists and is no release "
        "→ choose another release.name, or delete it",
    )


@pytest.mark.parametrize("publisher", ["ticket-routing/an-older-uid", "gone/uid-1", "ticket-routing/uid-1"])
def test_a_release_of_a_job_that_is_gone_is_replaced(publisher: str) -> None:
    async def run() -> Object:
        world = World()
        name = "distillery-release-router"
        labels = {"app.kubernetes.io/managed-by": "distillery"}
        data = {"publisher": publisher, "version": "000000000000"}
        await world.apply()
        await world.api.create(CONFIG_MAPS, thing(CONFIG_MAPS, name, NAMESPACE, labels, data=data))
        await world.run(ended)
        return await world.api.get(CONFIG_MAPS, name, NAMESPACE)

    data = asyncio.run(run())["data"]
    assert (data["publisher"], data["version"]) == ("ticket-routing/uid-1", "0123456789ab")


ACCOUNT = "ticket-routing-uid1"
WRONG = [
    (ROLES, {"rules": []}),
    (ROLES, {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
    (ROLE_BINDINGS, {"subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
    (ROLE_BINDINGS, {"subjects": None}),
    (ROLE_BINDINGS, {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "other"}}),
    (SERVICE_ACCOUNTS, {"automountServiceAccountToken": True}),
]


async def change(world: World, resource: Resource, fields: Object) -> Object:
    found = await world.api.get(resource, ACCOUNT, NAMESPACE)
    return await world.api.replace(resource, {**found, "imagePullSecrets": [{"name": "ours"}], **fields})


@pytest.mark.parametrize(("resource", "fields"), WRONG)
def test_rights_that_differ_are_mended_before_the_next_attempt(resource: Resource, fields: Object) -> None:
    async def run() -> None:
        world = World()
        await working(world, "teacher")
        before = await world.api.get(resource, ACCOUNT, NAMESPACE)
        await change(world, resource, fields)
        held(world, "none")
        await world.run(ended)
        after = await world.api.get(resource, ACCOUNT, NAMESPACE)
        assert {field: after.get(field) for field in fields} == {field: before.get(field) for field in fields}
        if "roleRef" not in fields:  # what others have added is theirs
            assert after["imagePullSecrets"] == [{"name": "ours"}]
        mends = [w for w in world.api.writes if w[1] == resource.plural and w[0] in ("update", "delete")]
        assert len(mends) == 2  # the change itself, and one mend

    asyncio.run(run())


def test_a_worker_that_lost_its_rights_is_heard_again_before_it_is_given_up() -> None:
    async def run() -> Status:
        world = World()
        await working(world, "teacher")
        role = await world.api.get(ROLES, ACCOUNT, NAMESPACE)
        await change(world, ROLES, {"rules": []})
        report = world.kuberay._report

        async def with_rights(assignment: Assignment, **fields: Any) -> None:
            now = await world.api.get(ROLES, ACCOUNT, NAMESPACE)
            if now["rules"] == role["rules"]:
                await report(assignment, **fields)

        world.kuberay._report = with_rights  # type: ignore[method-assign]
        for _ in range(4):
            await world.turn(15.0)
        assert (await world.api.get(ROLES, ACCOUNT, NAMESPACE))["rules"] == role["rules"]
        held(world, "none")
        return await world.run(ended)

    status = asyncio.run(run())
    assert (status.phase, [stage.attempt for stage in status.stages]) == ("Succeeded", [1] * 5)


def test_a_worker_that_is_heard_costs_no_look_at_its_rights() -> None:
    async def run() -> list[str]:
        world = World()
        await working(world, "teacher")
        asked: list[str] = []
        find = world.api.find

        async def noting(resource: Resource, *args: Any, **more: Any) -> Object | None:
            asked.append(resource.plural)
            return await find(resource, *args, **more)

        world.api.find = noting  # type: ignore[method-assign]
        for _ in range(10):
            await world.turn(30.0)
        return asked

    assert not {"roles", "rolebindings", "serviceaccounts"} & set(asyncio.run(run()))


@pytest.mark.parametrize("silent", [True, False])
def test_an_operator_that_may_not_mend_says_what_differs_and_goes_on_once_it_does_not(silent: bool) -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        await working(world, "teacher")
        role = await world.api.get(ROLES, ACCOUNT, NAMESPACE)
        await change(world, ROLES, {"rules": []})
        replace, report = world.api.replace, world.kuberay._report

        async def forbidden(resource: Resource, body: Object) -> Object:
            if resource is ROLES:
                raise kube_errors.Forbidden("roles", 'roles "x" is forbidden')
            return await replace(resource, body)

        async def nothing(assignment: Assignment, **fields: Any) -> None:
            pass

        world.api.replace = forbidden  # type: ignore[method-assign]
        if silent:
            world.kuberay._report = nothing  # type: ignore[method-assign]
        else:
            held(world, "none")
        for _ in range(4):
            await world.turn(15.0)
        told = await world.status()
        world.api.replace = replace  # type: ignore[method-assign]
        world.kuberay._report = report  # type: ignore[method-assign]
        held(world, "none")
        done = await world.run(ended)
        assert (await world.api.get(ROLES, ACCOUNT, NAMESPACE))["rules"] == role["rules"]
        return told, done

    told, done = asyncio.run(run())
    reason, message = reconciling(told)
    assert reason == "RightsDiffer"
    assert message.startswith(
        "Role ticket-routing-uid1 differs from what the job's workers need, and cannot be"
    )
    assert (done.phase, [stage.attempt for stage in done.stages]) == ("Succeeded", [1] * 5)


STRIPPED = {"metadata": {"labels": {"distillery.dev/job-uid": None}}}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("kinds", [[RAY_JOBS], [RAY_JOBS, RAY_CLUSTERS, PODS]], ids=["RayJob", "all"])
def test_a_live_rayjob_without_its_labels_is_not_joined_by_a_second_one(
    kinds: list[Resource], restarted: bool
) -> None:
    async def run() -> tuple[Status, int]:
        world = World()
        await working(world, "teacher")
        for kind in kinds:
            for item in await world.api.list(kind):
                if "-teacher-" in item["metadata"]["name"]:
                    await world.api.merge(kind, item["metadata"]["name"], STRIPPED, NAMESPACE)
        if restarted:
            world.start_operator()
        world.kuberay._collect = no_collection  # type: ignore[method-assign]
        for _ in range(10):
            await world.turn(30.0)
        attempts = len([key for key in world.api.objects if key[0] == "rayjobs" and "-teacher-" in key[2]])
        held(world, "none")
        return await world.run(ended), attempts

    async def no_collection(jobs: list[Object]) -> None:
        pass

    status, attempts = asyncio.run(run())
    assert (status.phase, attempts) == ("Succeeded", 1)


@pytest.mark.parametrize("left", [["rayclusters", "pods"], ["pods"], []])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_parent_leaves_behind_counts_until_it_is_gone(left: list[str], restarted: bool) -> None:
    """RayJob and Ray cluster are gone, their pods still terminate; an older release has noted no UID of them."""

    async def run() -> tuple[list[int], Status]:
        world = World()
        await working(world, "teacher")
        await world.turn()
        entries = await record(world)
        assert (entries["teacher.1"].ray_job_uid, entries["teacher.1"].ray_cluster_uids) == ("", [])
        gone = [
            k for k in world.api.objects if k[0] in ("rayjobs", "rayclusters", "pods") and k[0] not in left
        ]
        for key in [key for key in gone if "-teacher-" in key[2]]:
            del world.api.objects[key]
        if restarted:
            world.start_operator()
        collect = world.kuberay._collect

        async def no_collection(jobs: list[Object]) -> None:
            pass

        world.kuberay._collect = no_collection  # type: ignore[method-assign]
        for _ in range(5):
            await world.turn(5.0)
        attempts = [entry.attempt for entry in (await record(world)).values() if entry.stage == "teacher"]
        world.kuberay._collect = collect  # type: ignore[method-assign]
        held(world, "none")
        return attempts, await world.run(ended)

    attempts, status = asyncio.run(run())
    assert attempts == ([1] if left else [1, 2])
    assert (status.phase, status.stages[1].attempt) == ("Succeeded", 2)


def test_events_in_another_namespace_wake_no_job() -> None:
    queue: WorkQueue[tuple[str, str]] = WorkQueue(lambda key: None)  # type: ignore[arg-type, return-value]
    cache = Cache()
    handlers = Handlers(cache, queue, lambda uid: None)
    cache.know_job("uid-1", KnownJob((NAMESPACE, NAME)))
    names = {"name": "x-reports", "labels": LABELS}
    handlers.child(None, project_pod(thing(PODS, "sleeper", "evil", LABELS)))
    handlers.config_map(None, {**names, "namespace": "evil"})
    assert queue.depth() == 0
    handlers.config_map(None, {**names, "namespace": NAMESPACE})
    assert queue.depth() == 1
    assert cache.children(NAMESPACE, "uid-1") == ()


GOLDEN = Path(__file__).parents[1] / "manifests" / "golden"
RELEASED = JobRef("ticket-routing", "support", "5c0f7a1e-3b52-4d0c-9d52-1f6f5a0f8f7b")


def rendered(name: str) -> Object:
    """Return an object as release 5a4633b rendered it, and as the API server stores it."""
    body = load_yaml((GOLDEN / name).read_text(), name)
    body["metadata"] |= {
        "uid": f"uid-of-{name}",
        "resourceVersion": "7",
        "creationTimestamp": "2026-11-03T12:00:00Z",
    }
    return body


def by_kuberay(owner: Object, kind: Resource, name: str) -> Object:
    """Return what KubeRay 1.6 makes below an object: with its labels, controlled by it."""
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    body = thing(kind, name, "support", owner["metadata"]["labels"])
    body["metadata"] |= {"uid": f"uid-of-{name}", "creationTimestamp": "2026-11-03T12:00:05Z"}
    body["metadata"]["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    return body


@pytest.mark.parametrize("state", ["", "Initializing", "Running", "Suspended", "Complete", "Failed"])
@pytest.mark.parametrize("there", [(RAY_JOBS,), (RAY_JOBS, RAY_CLUSTERS), (RAY_JOBS, RAY_CLUSTERS, PODS)])
def test_children_of_the_last_release_are_found_in_every_state(
    state: str, there: tuple[Resource, ...]
) -> None:
    job = {**rendered("rayjob-teacher.yaml"), "status": {"jobDeploymentStatus": state}}
    cluster = by_kuberay(job, RAY_CLUSTERS, f"{job['metadata']['name']}-x7k2p")
    pod = by_kuberay(cluster, PODS, f"{cluster['metadata']['name']}-head-a1b2c")
    entry = AttemptRecord(
        stage="teacher", attempt=1, recipe="r", generation=1, name=job["metadata"]["name"], started_at=0.0
    )
    views = {
        RAY_JOBS: project_rayjob(job),
        RAY_CLUSTERS: project_cluster(cluster),
        PODS: project_pod(pod),
    }
    present = [views[kind] for kind in there]
    found = children_of(RELEASED, present, {"teacher.1": entry})
    assert list(found) == present
    facts = Facts({"teacher.1": entry}, {}, found, {}, 1e9)
    assert is_live(entry, facts) is (state not in ("Complete", "Failed") or len(there) > 1)
    assert expired(facts, 0.0, 60)[0] == [
        Removal(job["metadata"]["name"], job["metadata"]["uid"], "ttlSecondsAfterFinished are over")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "configmap-assignment.yaml",
        "configmap-profile.yaml",
        "configmap-record.yaml",
        "configmap-reports.yaml",
        "rayjob-teacher.yaml",
        "role.yaml",
        "rolebinding.yaml",
        "serviceaccount.yaml",
    ],
)
def test_what_the_last_release_has_made_is_the_jobs_own(name: str) -> None:
    assert is_own(RELEASED, rendered(name))


def test_a_job_that_the_last_release_left_in_mid_run_is_finished_and_cleared_away() -> None:
    """Its record holds no uids, and the operator starts with an empty memory."""

    async def run() -> tuple[Status, list[str]]:
        world = World()
        held(world, "student")
        await world.apply(ttlSecondsAfterFinished=60)
        await world.run(at_work("student"))
        entries = await record(world)
        assert not [entry for entry in entries.values() if entry.ended_at is None and entry.ray_job_uid]
        world.start_operator()
        held(world, "none")
        status = await world.run(ended)
        for _ in range(5):
            await world.turn(30.0)
        return status, sorted({key[0] for key in world.api.objects})

    status, left = asyncio.run(run())
    assert (status.phase, [stage.attempt for stage in status.stages]) == ("Succeeded", [1] * 5)
    assert not {"rayjobs", "rayclusters", "pods"} & set(left)

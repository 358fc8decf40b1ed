"""Whatever the API server refuses, the status says so, and the job goes on by itself when the fault ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from controller_world import NAME, NAMESPACE, World, ended
from distillery.api.v1alpha1.conditions import Condition, ConditionType, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.controller.reconcile import Reconciler
from distillery.kube.errors import Exists, Forbidden, NotFound, Stale, Unavailable, Unusable
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    RAY_JOBS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Resource,
)
from distillery.manifests.metadata import MANAGED_BY_LABEL, MANAGER
from distillery.planning import bookkeeping
from distillery.planning.control import timestamp
from distillery.planning.profile import BuiltinProfile
from written_worlds import world_as_written

Answer = Callable[[str], Exception]
"""From what was asked to the error."""
READS, WRITES = ("get", "find"), ("create", "replace", "replace_status", "merge", "delete")
API_VERBS = {"find": "get", "replace": "update", "replace_status": "update", "merge": "patch", "scan": "list"}

ANSWERS: dict[str, Answer] = {
    "403": lambda what: Forbidden(what, "exceeded quota: team, used: 5"),
    "404": lambda what: NotFound(what, 'namespaces "support" not found'),
    "404-kind": lambda what: NotFound(what, "the server could not find the requested resource", True),
    "409-exists": lambda what: Exists(what, "already exists"),
    "409": lambda what: Stale(what, "the object has been modified"),
    "422": lambda what: Unusable(what, "data: Forbidden: field is immutable when `immutable` is set"),
    "429": lambda what: Unavailable(what, "429 too many requests", 5.0),
    "500": lambda what: Unavailable(what, "500 etcdserver: leader changed"),
    "timeout": lambda what: Unavailable(what, "ServerTimeoutError"),
    "bare-timeout": lambda what: TimeoutError(),
    "bug": lambda what: KeyError("s3cr3t"),
}
WORDS = {
    "403": "exceeded quota: team, used: 5 → raise the quota of the namespace, or delete what is not needed",
    "404": 'namespaces "support" not found',
    "404-kind": "this kind is not installed → install",
    "422": "field is immutable when `immutable` is set",
    "429": "429 too many requests",
    "500": "500 etcdserver: leader changed",
    "timeout": "ServerTimeoutError",
    "bare-timeout": "TimeoutError",
    "bug": "a bug in the operator (KeyError): its log has the traceback",
}


@dataclass(frozen=True)
class Call:
    """Calls of the API: the verb, the kind, a part of the name, and how a message speaks of it."""

    verb: str
    resource: Resource
    part: str
    told: str
    reason: str = "ReconcileError"

    def __str__(self) -> str:
        return f"{self.verb} {self.resource.plural} {self.part}"


CALLS = [
    Call("find", CONFIG_MAPS, "-profile-", "cannot read ConfigMap ticket-routing-uid1-profile-1"),
    Call("create", CONFIG_MAPS, "-profile-", "cannot create ConfigMap ticket-routing-uid1-profile-1"),
    Call("scan", DISTILLATION_PROFILES, "", "cannot list distillationprofiles"),
    Call("find", CONFIG_MAPS, "-record", "cannot read ConfigMap ticket-routing-uid1-record"),
    Call("create", CONFIG_MAPS, "-record", "cannot create ConfigMap ticket-routing-uid1-record"),
    Call(
        "replace", CONFIG_MAPS, "-record", "cannot write ConfigMap ticket-routing-uid1-record", "NotSubmitted"
    ),
    Call("find", CONFIG_MAPS, "-reports", "cannot read ConfigMap ticket-routing-uid1-reports"),
    Call("create", CONFIG_MAPS, "-reports", "cannot create ConfigMap ticket-routing-uid1-reports"),
    Call("find", SERVICE_ACCOUNTS, "", "cannot read ServiceAccount ticket-routing-uid1"),
    Call("create", SERVICE_ACCOUNTS, "", "cannot create ServiceAccount ticket-routing-uid1"),
    Call("find", ROLES, "", "cannot read Role ticket-routing-uid1"),
    Call("create", ROLES, "", "cannot create Role ticket-routing-uid1"),
    Call("find", ROLE_BINDINGS, "", "cannot read RoleBinding ticket-routing-uid1"),
    Call("create", ROLE_BINDINGS, "", "cannot create RoleBinding ticket-routing-uid1"),
    Call(
        "create",
        CONFIG_MAPS,
        "-filter-1-",
        "cannot create ConfigMap ticket-routing-filter-1-",
        "NotSubmitted",
    ),
    Call("create", RAY_JOBS, "-filter-1-", "cannot create RayJob ticket-routing-filter-1-", "NotSubmitted"),
    Call(
        "find",
        CONFIG_MAPS,
        "release",
        "cannot read ConfigMap distillery-release-router",
        "ReleaseNotPublished",
    ),
    Call(
        "create",
        CONFIG_MAPS,
        "release",
        "cannot create ConfigMap distillery-release-router",
        "ReleaseNotPublished",
    ),
]


class Refusing:
    """The API as an operator sees it that is refused one kind of call while `on`."""

    def __init__(self, world: World, call: Call, answer: Answer) -> None:
        self.on = True
        self._api = world.api
        self._call = call
        self._answer = answer
        told: Any = world.told
        kube: Any = self
        builtin = BuiltinProfile(image="distillery/worker:test")
        world.operator = Reconciler(kube, world.cache, told, builtin, lambda: world.now)

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._api, verb)
        if verb == "scan":
            return self._scan
        if verb not in (*READS, *WRITES):
            return method

        async def call(resource: Resource, *args: Any, **kwargs: Any) -> Any:
            name, namespace = _names(verb, args)
            wanted = (verb, resource) == (self._call.verb, self._call.resource) and self._call.part in name
            if not (self.on and wanted):
                return await method(resource, *args, **kwargs)
            status = "status" if verb == "replace_status" else None
            path = resource.path(namespace, name or None, status)
            raise self._answer(f"{API_VERBS.get(verb, verb)} {path}")

        return call

    async def _scan(self, resource: Resource, *args: Any, **kwargs: Any) -> AsyncGenerator[list[Any], None]:
        if self.on and ("scan", resource) == (self._call.verb, self._call.resource):
            raise self._answer(f"list {resource.path()}")
        async for page in self._api.scan(resource, *args, **kwargs):
            yield page


def _names(verb: str, args: tuple[Any, ...]) -> tuple[str, str | None]:
    """Return name and namespace of the object that a call is about."""
    if verb in ("create", "replace", "replace_status"):
        return args[0]["metadata"]["name"], args[0]["metadata"].get("namespace")
    return args[0], args[-1] if len(args) > 1 else None


def reconciling(status: Status) -> Condition:
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    assert found is not None, status
    return found


async def turn(world: World, seconds: float = 5.0) -> None:
    """Let the operator look; the queue logs what it raises and repeats it."""
    with contextlib.suppress(Exception):
        await world.turn(seconds)


async def until_told(world: World, words: str) -> Condition:
    """Look until the status says it, and see that it goes on saying so. Returns: the condition."""
    for _ in range(100):
        await turn(world)
        status = await world.status()
        if status.conditions and words in reconciling(status).message:
            break
    for _ in range(5):
        await turn(world)
        assert words in reconciling(await world.status()).message
    return reconciling(await world.status())


def sensible(call: Call, answer: str) -> bool:
    """Say whether an API server answers such a call so."""
    if call.verb in ("find", "scan"):
        return answer not in ("404", "409", "409-exists", "422")
    return call.verb == "create" or answer != "409-exists"


def expected(call: Call, answer: str) -> tuple[str, str]:
    """Return reason and words of the condition."""
    if answer == "bug":
        return "InternalError", WORDS[answer]
    if answer == "bare-timeout":
        return call.reason, WORDS[answer]
    if answer == "422" and call.resource is RAY_JOBS:
        return "ProfileViolated", "the API server refuses RayJob ticket-routing-filter-1-"
    return call.reason, call.told


CASES = [(call, answer) for call in CALLS for answer in ANSWERS if sensible(call, answer)]


@pytest.mark.parametrize(("call", "answer"), CASES, ids=lambda value: str(value))
def test_what_is_refused_is_told_and_the_job_goes_on_when_it_is_not(call: Call, answer: str) -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        world.api.on_create = one_uid
        kube = Refusing(world, call, ANSWERS[answer])
        await world.apply()
        if answer.startswith("409"):  # nobody but the queue hears of what the next look reads
            for _ in range(60):
                await turn(world)
            held = await world.status()
        else:
            wanted, words = expected(call, answer)
            found = await until_told(world, words)
            held = await world.status()
            assert WORDS[answer] in found.message
            assert "s3cr3t" not in held.model_dump_json()
            assert (found.status, found.reason, found.observed_generation) == ("True", wanted, 1)
            assert (held.observed_generation, ended(held)) == (1, False)
        kube.on = False
        done = await world.run(ended, turns=200)
        assert set(world.kuberay.commits.values()) == {1}
        return held, done

    held, done = asyncio.run(run())
    assert held.phase != "Succeeded"
    assert [(s.state, s.attempt) for s in done.stages] == [("Succeeded", 1)] * 5
    assert (done.phase, reconciling(done).reason) == ("Succeeded", "GatesPassed")


def one_uid(plural: str, body: dict[str, Any]) -> None:
    """Give the job the uid that the messages here name."""
    if plural == "distillationjobs":
        body["metadata"]["uid"] = "uid1"


def test_a_fault_that_passes_by_itself_is_not_told_before_the_third_time() -> None:
    async def run() -> list[str]:
        world = World()
        Refusing(world, CALLS[4], ANSWERS["500"])
        await world.apply()
        reasons = []
        for _ in range(4):
            await turn(world)
            conditions = (await world.status()).conditions
            reasons.append(conditions[0].reason if conditions else "")
        return reasons

    assert asyncio.run(run()) == ["", "", "ReconcileError", "ReconcileError"]


def test_what_is_known_stays_told_while_something_is_refused() -> None:
    call = Call("find", CONFIG_MAPS, "-record", "cannot read ConfigMap")

    async def run() -> tuple[Status, Status, Status]:
        world = world_as_written("5a4633b/waiting-suspended")
        before = await world.status()
        kube = Refusing(world, call, ANSWERS["403"])
        await until_told(world, call.told)
        held = await world.status()
        kube.on = False
        await turn(world, 20.0)
        return before, held, await world.status()

    before, held, after = asyncio.run(run())
    assert after == before
    same = ("stages", "cost", "profile", "handled", "phase", "observed_generation")
    assert {name: getattr(held, name) for name in same} == {name: getattr(before, name) for name in same}
    assert [c.type for c in held.conditions] == [c.type for c in before.conditions]


@pytest.mark.parametrize("verb", ["create", "replace"])
def test_no_job_is_complete_whose_release_is_not_published(verb: str) -> None:
    call = Call(verb, CONFIG_MAPS, "release", "ConfigMap distillery-release-router", "ReleaseNotPublished")

    async def run() -> tuple[Status, Condition, Status]:
        world = World()
        if verb == "replace":
            gone = {"publisher": "gone/uid", "version": "000000000000"}
            marks = {"labels": {MANAGED_BY_LABEL: MANAGER}}
            metadata = {"name": "distillery-release-router", "namespace": NAMESPACE, **marks}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": gone}
            await world.api.create(CONFIG_MAPS, body)
        kube = Refusing(world, call, ANSWERS["422"])
        await world.apply()
        told = await until_told(world, call.told)
        held = await world.status()
        kube.on = False
        done = await world.run(ended)
        release = await world.api.get(CONFIG_MAPS, "distillery-release-router", NAMESPACE)
        assert done.release is not None
        assert release["data"]["version"] == done.release.version
        return held, told, done

    held, told, done = asyncio.run(run())
    assert told.message.startswith("every gate has passed; but the release cannot be published: cannot ")
    assert (held.phase, held.evaluation and held.evaluation.verdict) == ("Running", "passed")
    assert [s.state for s in held.stages] == ["Succeeded"] * 5
    assert {c.type: c.status for c in held.conditions} == {
        "Ready": "False",
        "Reconciling": "True",
        "Stalled": "False",
        "Complete": "False",
        "Failed": "False",
    }
    assert done.phase == "Succeeded"


def test_a_request_is_latched_even_if_what_follows_from_it_is_refused() -> None:
    call = Call("create", CONFIG_MAPS, "-profile-", "cannot create ConfigMap")

    async def run() -> tuple[dict[str, str], Status]:
        world = world_as_written("5a4633b/complete")
        kube = Refusing(world, call, ANSWERS["500"])
        request = f"{timestamp(world.now)}/student"
        await world.annotate(rerun_requested_at=request)
        await turn(world)
        latched = dict((await world.status()).handled)
        no_annotations: dict[str, Any] = {"metadata": {"annotations": None}}
        await world.api.merge(DISTILLATION_JOBS, NAME, no_annotations, NAMESPACE)
        kube.on = False
        assert latched["rerun-requested-at/student"] == request
        return latched, await world.run(lambda s: ended(s) and s.stages[3].attempt == 2)

    latched, done = asyncio.run(run())
    assert (done.phase, done.handled) == ("Succeeded", latched)


@pytest.mark.parametrize("answer", ["403", "422", "500"])
def test_a_status_that_cannot_be_written_is_told_by_an_event(answer: str) -> None:
    call = Call(
        "replace_status", DISTILLATION_JOBS, "", "cannot write DistillationJob ticket-routing, status: "
    )

    async def run() -> tuple[list[str], Status]:
        world = World()
        kube = Refusing(world, call, ANSWERS[answer])
        await world.apply()
        for _ in range(10):
            await turn(world)
        warnings = list(world.told.warnings)
        kube.on = False
        return warnings, await world.run(ended)

    warnings, done = asyncio.run(run())
    assert warnings[0].startswith(f"ReconcileError: {call.told}")
    assert [(s.state, s.attempt) for s in done.stages] == [("Succeeded", 1)] * 5


def test_a_rayjob_that_cannot_be_removed_is_told_beside_how_the_job_fares() -> None:
    call = Call("delete", RAY_JOBS, "", "cannot delete RayJob ticket-routing-teacher-1-")

    async def run() -> tuple[Condition, Status]:
        world = world_as_written("5a4633b/waiting-to-stop")

        async def stuck(job: dict[str, Any]) -> None:
            return

        world.kuberay.advance = stuck  # type: ignore[method-assign]
        kube = Refusing(world, call, ANSWERS["403"])
        told = await until_told(world, call.told)
        kube.on = False
        return told, await world.run(ended)

    told, done = asyncio.run(run())
    assert (told.status, told.reason) == ("True", "Stopping")
    assert told.message.startswith("waiting for teacher attempt 1 to stop: cancelled on request;")
    assert reconciling(done).reason == "Cancelled"


@pytest.mark.parametrize(
    ("verb", "part"), [("delete", "-student-"), ("find", "-record"), ("find", "release")]
)
def test_what_cannot_be_done_for_an_ended_job_is_told_and_does_not_hide_its_end(verb: str, part: str) -> None:
    resource = RAY_JOBS if verb == "delete" else CONFIG_MAPS

    async def run() -> None:
        world = world_as_written("5a4633b/complete-ttl-running")
        before = await world.status()
        kube = Refusing(world, Call(verb, resource, part, ""), ANSWERS["403"])
        for _ in range(10):
            await turn(world, 400.0)
        assert await world.status() == before
        assert len([w for w in set(world.told.warnings) if f"{part}" in w and "exceeded quota" in w]) == 1
        kube.on = False
        for _ in range(10):
            await world.turn(60.0)
        assert await world.status() == before
        assert not [key for key in world.api.objects if key[0] == "rayjobs"]

    asyncio.run(run())


def test_reports_that_cannot_be_dropped_are_told_and_the_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bookkeeping, "MANY_REPORTS", 2)
    monkeypatch.setattr(bookkeeping, "KEPT_REPORTS", 1)
    call = Call("merge", CONFIG_MAPS, "-reports", "cannot change ConfigMap")

    async def run() -> tuple[list[str], Status]:
        world = world_as_written("5a4633b/complete-after-rerun")
        Refusing(world, call, ANSWERS["403"])
        await world.apply(filter={"discard": {"max": 0.41}})
        for _ in range(150):
            await turn(world, 1.0)
        return world.told.warnings, await world.status()

    warnings, done = asyncio.run(run())
    assert (done.phase, done.observed_generation) == ("Succeeded", 2)
    assert any(call.told in warning for warning in warnings)


def test_what_runs_and_cannot_be_stopped_is_told_beside_the_refusal() -> None:
    call = Call("replace", CONFIG_MAPS, "-record", "cannot write ConfigMap")

    async def run() -> tuple[Status, Status]:
        world = world_as_written("5a4633b/running-teacher")
        world.kuberay.hold = lambda assignment: True
        kube = Refusing(world, call, ANSWERS["403"])
        await world.apply(dataset={"sources": []})
        await until_held(world, call.told)
        held = await world.status()
        kube.on = False
        for _ in range(10):
            await world.turn()
        return held, await world.status()

    async def until_held(world: World, words: str) -> None:
        for _ in range(5):
            await turn(world)
        assert words in reconciling(await world.status()).message

    held, after = asyncio.run(run())
    assert (held.stages[1].state, after.stages[1].state) == ("Running", "Stopped")
    assert reconciling(held).reason == reconciling(after).reason == "InvalidSpec"
    assert "cannot write" not in reconciling(after).message

"""What an earlier release wrote is read by this one: what has ended stays ended, and what runs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from controller_world import NAME, NAMESPACE, World, ended
from distillery.api import validation
from distillery.api.v1alpha1.checks.check import Check
from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.status import Status
from distillery.controller import snapshot
from distillery.errors import Problem
from distillery.kube.resources import DISTILLATION_JOBS, DISTILLATION_PROFILES
from distillery.planning import plan as plan_module
from distillery.planning.control import timestamp
from distillery.planning.profile import Profile
from distillery.stages import catalog
from written_worlds import world_as_written, written_lives

ENDED = written_lives("complete", "gates", "failed", "stopped")
RUNNING = [
    life
    for life in written_lives("running", "waiting-back-off", "waiting-suspended")
    if not life.endswith("by-spec")
]
REFUSED = written_lives("refused")
OPERATORS_OWN = ("distillationjobs", "configmaps", "serviceaccounts", "roles", "rolebindings")
RULE = "spec.dataset: is ruled out by this release"


class LaterProfile(Profile):
    """The settings of a later release: one more, with a default."""

    telemetry_interval_seconds: float = 15.0


def nothing(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """The same release, started anew."""


def another_rule(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """A rule that every job breaks."""

    def ruled_out(spec: DistillationJobSpec) -> Iterator[Problem]:
        yield Problem("spec.dataset", "is ruled out by this release")

    monkeypatch.setattr(validation, "CHECKS", (*validation.CHECKS, Check(ruled_out, ("dataset",))))


def another_setting(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """A new field of profiles with a default."""
    monkeypatch.setattr(snapshot, "Profile", LaterProfile)
    original = snapshot.resolve
    monkeypatch.setattr(
        snapshot,
        "resolve",
        lambda *given: LaterProfile.model_validate(original(*given).model_dump(by_alias=True)),
    )


def another_profile(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """The platform team has edited the profile, and made another one the default: a job may hardly cost anything."""
    spec = {"image": "our/worker:2", "ceilings": {"maxCost": "0.01", "rows": 1}}
    for name, marks in (("gold", {}), ("default", {"distillery.dev/is-default-profile": "true"})):
        key = (DISTILLATION_PROFILES.plural, None, name)
        metadata = {
            "name": name,
            "annotations": marks,
            "resourceVersion": "1",
            "uid": name,
            "generation": 2,
        }
        body = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationProfile", "metadata": metadata}
        world.api.objects[key] = {**body, "spec": spec}


def other_recipes(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Every stage makes something else of the same spec."""
    stages = tuple(replace(stage, revision=stage.revision + 1) for stage in catalog.STAGES)
    monkeypatch.setattr(plan_module, "STAGES", stages)


def all_together(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """A release as it may well come."""
    for change in (another_rule, another_setting, another_profile, other_recipes):
        change(monkeypatch, world)


CHANGES = [nothing, another_rule, another_setting, another_profile, other_recipes, all_together]


async def rest(world: World, *pauses: float) -> None:
    """Let time pass over several operators, none of which knows what the one before knew."""
    for _ in range(3):
        world.start_operator()
        for seconds in pauses or (1.0, 100.0, 10.0):
            await world.turn(seconds)


def own_writes(world: World) -> list[tuple[str, str, str]]:
    """Return what the operator has written; the rest is KubeRay's and the workers'."""
    return [
        write
        for write in world.api.writes
        if write[1] in OPERATORS_OWN and not (write[0] == "patch" and write[2].endswith("-reports"))
    ]


def reason(status: Status) -> str:
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    assert found is not None
    return found.reason


def attempts(world: World) -> set[str]:
    return {key[2] for key in world.api.objects if key[0] == "rayjobs"}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("life", ENDED)
def test_what_has_ended_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, life: str, change: Any) -> None:
    world = world_as_written(life)
    change(monkeypatch, world)
    before, jobs = asyncio.run(world.status()), attempts(world)
    asyncio.run(rest(world))
    after = asyncio.run(world.status())
    assert (attempts(world), after) == (jobs, before)
    if not life.endswith("winding-down"):  # its last cluster goes, which the record notes
        assert world.api.writes == []
    assert world.told.complaints in ([], world.told.complaints[:1] * len(world.told.complaints))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("life", REFUSED)
def test_what_was_refused_is_judged_anew(monkeypatch: pytest.MonkeyPatch, life: str, change: Any) -> None:
    world = world_as_written(life)
    change(monkeypatch, world)
    before, jobs = asyncio.run(world.status()), attempts(world)
    asyncio.run(rest(world))
    after = asyncio.run(world.status())
    assert attempts(world) == jobs
    assert after.phase in ("Failed", "Pending", "Running")
    if change is nothing and not life.endswith("after-edit"):  # there a stage was said to run that does not
        assert after == before
        assert world.api.writes == []


async def to_the_end(world: World) -> Status:
    world.start_operator()
    await world.annotate(resume_requested_at=timestamp(world.now + 2))
    return await world.run(ended, turns=400)


@pytest.mark.parametrize("life", RUNNING)
def test_what_runs_goes_on_to_its_end_and_runs_nothing_again(life: str) -> None:
    world = world_as_written(life)
    before, done = asyncio.run(world.status()), asyncio.run(to_the_end(world))
    assert (done.phase, reason(done)) == ("Succeeded", "GatesPassed")
    for was, stage in zip(before.stages, done.stages, strict=True):
        if was.state in ("Succeeded", "Running"):
            assert (stage.attempt, stage.identity) == (was.attempt, was.identity or stage.identity)
    assert set(world.kuberay.commits.values()) <= {1}


@pytest.mark.parametrize("change", CHANGES[1:])
@pytest.mark.parametrize("life", RUNNING)
def test_what_runs_ends_as_it_would_have(monkeypatch: pytest.MonkeyPatch, life: str, change: Any) -> None:
    undisturbed = asyncio.run(to_the_end(world_as_written(life)))
    world = world_as_written(life)
    change(monkeypatch, world)
    assert asyncio.run(to_the_end(world)) == undisturbed


@pytest.mark.parametrize(
    "life", [life for life in ENDED if life.rpartition("/")[2] in ("complete", "gates-failed")]
)
@pytest.mark.parametrize("request_", ["retry", "rerun", "edit"])
def test_whoever_asks_for_more_meets_the_new_rules(
    monkeypatch: pytest.MonkeyPatch, life: str, request_: str
) -> None:
    async def run(change: Any) -> Status:
        world = world_as_written(life)
        change(monkeypatch, world)
        world.start_operator()
        await ask(world, request_)
        await world.turn()
        return await world.run(ended)

    recipes = asyncio.run(run(other_recipes))
    assert [s.attempt for s in recipes.stages] == [2] * 5
    assert reason(asyncio.run(run(another_profile))) == "ProfileViolated"
    ruled_out = asyncio.run(run(another_rule))
    assert (ruled_out.phase, reason(ruled_out)) == ("Failed", "InvalidSpec")
    assert ruled_out.progress.message.startswith(RULE)


async def ask(world: World, request: str) -> None:
    match request:
        case "retry":
            await world.annotate(retry_requested_at=timestamp(world.now))
        case "rerun":
            await world.annotate(rerun_requested_at=f"{timestamp(world.now)}/dataset")
        case "edit":
            await world.apply(teacher={**world.manifest["spec"]["teacher"], "revision": "2026-11"})


@pytest.mark.parametrize("request_", ["suspend_requested_at", "resume_requested_at", "cancel_requested_at"])
@pytest.mark.parametrize("life", ENDED)
def test_other_requests_are_latched_and_change_nothing_of_an_end(life: str, request_: str) -> None:
    async def run() -> tuple[Status, Status, set[str], World]:
        world = world_as_written(life)
        before, jobs = await world.status(), attempts(world)
        await world.annotate(**{request_: timestamp(world.now)})
        await rest(world)
        return before, await world.status(), jobs, world

    before, after, jobs, world = asyncio.run(run())
    key = request_.replace("_", "-")
    assert after == before.model_copy(update={"handled": {**before.handled, key: after.handled[key]}})
    assert attempts(world) == jobs


def test_an_approval_after_the_end_is_latched_and_changes_nothing() -> None:
    async def run() -> tuple[Status, Status]:
        world = world_as_written("5a4633b/complete-after-review")
        before = await world.status()
        await world.annotate(approve_review="another")
        await rest(world)
        return before, await world.status()

    before, after = asyncio.run(run())
    assert after.handled["approve-review"] == "another"
    assert after.model_copy(update={"handled": before.handled}) == before


def test_a_rayjob_of_an_ended_job_lives_as_long_as_was_asked_for() -> None:
    async def run(seconds: float) -> set[str]:
        world = world_as_written("5a4633b/complete-ttl-running")
        world.now += seconds - 100.0
        await rest(world, 1.0)
        return attempts(world)

    assert len(asyncio.run(run(3000.0))) == 5
    assert asyncio.run(run(3800.0)) == set()


def test_a_release_that_was_lost_is_published_again_and_nothing_else_is_written() -> None:
    async def run() -> World:
        world = world_as_written("5a4633b/complete")
        world.api.objects.pop(("configmaps", NAMESPACE, "distillery-release-router"))
        await rest(world)
        return world

    assert asyncio.run(run()).api.writes == [("create", "configmaps", "distillery-release-router")]


def test_a_conflict_over_a_release_is_over_when_the_other_job_is_gone() -> None:
    async def run() -> tuple[Status, Status, World]:
        world = world_as_written("5a4633b/complete-release-conflict")
        before = await world.status()
        await world.remove(DISTILLATION_JOBS, "other")
        await rest(world)
        return before, await world.status(), world

    before, after, world = asyncio.run(run())
    assert "; but ReleaseConflict: release router is published by other" in before.progress.message
    assert {c.message for c in after.conditions} == {"every gate has passed"} == {after.progress.message}
    assert after.phase == before.phase
    release = world.api.objects["configmaps", NAMESPACE, "distillery-release-router"]
    assert after.release is not None
    assert release["data"]["version"] == after.release.version


@pytest.mark.parametrize("change", CHANGES)
def test_the_books_of_a_job_that_has_ended_are_closed(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    async def run() -> World:
        world = world_as_written("5a4633b/complete-winding-down")
        change(monkeypatch, world)
        await rest(world)
        return world

    world = asyncio.run(run())
    (record,) = [body for key, body in world.api.objects.items() if key[2].endswith("-record")]
    assert '"endedAt"' in record["data"]["evaluation.1"]
    assert [write[2].rpartition("-")[2] for write in own_writes(world)] == ["record"]
    assert not [key for key in world.api.objects if key[0] in ("rayclusters", "pods")]


def test_a_status_that_is_lost_is_written_anew_and_nothing_is_run() -> None:
    async def run() -> tuple[Status, Status, World]:
        world = world_as_written("5a4633b/complete")
        before = await world.status()
        job = await world.api.get(DISTILLATION_JOBS, NAME, NAMESPACE)
        await world.api.replace_status(DISTILLATION_JOBS, {**job, "status": {}})
        jobs = attempts(world)
        await rest(world)
        assert attempts(world) == jobs
        return before, await world.status(), world

    before, after, _ = asyncio.run(run())
    assert (after.phase, after.stages) == (before.phase, before.stages)

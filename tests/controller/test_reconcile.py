"""A job comes to its end whatever happens to the operator on the way, and nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from controller_world import NAMESPACE, World, ended
from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.errors import DistilleryError
from distillery.kube import errors as kube_errors
from distillery.kube.errors import NotFound, Unavailable
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    RAY_JOBS,
    ROLE_BINDINGS,
    Resource,
)
from distillery.manifests.metadata import ATTEMPT_LABEL, STAGE_LABEL
from distillery.manifests.release import PUBLISHER
from distillery.planning import plan as plan_module
from distillery.planning.bookkeeping import MANY_REPORTS
from distillery.planning.control import timestamp
from distillery.planning.failures import MAX_INFRASTRUCTURE_FAILURES
from distillery.stages import catalog
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure, Report

STAGES = ["dataset", "teacher", "filter", "student", "evaluation"]
EARLY, LATE = "2026-11-03T12:30:00Z", "2026-11-03T13:30:00Z"


def story(status: Status) -> dict[str, Any]:
    """Return what must not depend on what happened on the way."""
    return {
        "phase": status.phase,
        "stages": [(s.name, s.state, s.identity, s.reused) for s in status.stages],
        "release": status.release,
        "conditions": sorted((c.type, c.status, c.reason) for c in status.conditions),
    }


async def finished(world: World) -> Status:
    await world.apply()
    return await world.run(ended)


def undisturbed() -> tuple[World, Status]:
    world = World()
    return world, asyncio.run(finished(world))


def condition(status: Status, type_: str) -> tuple[str, str]:
    found = find_condition(status.conditions, ConditionType(type_))
    assert found is not None
    return found.status, found.reason


def failing(failure_class: str, reason: str, times: int) -> Any:
    left = [times]

    def fail(assignment: Assignment) -> Report | None:
        if assignment.run.stage != "teacher" or not left[0]:
            return None
        left[0] -= 1
        failure = Failure.model_validate(
            {"failureClass": failure_class, "reason": reason, "message": "because"}
        )
        return Report(stage="teacher", recipe="", attempt=0, state="failed", failure=failure)

    return fail


def test_a_job_runs_from_its_dataset_to_a_release() -> None:
    world, status = undisturbed()
    assert [(s.name, s.state, s.attempt) for s in status.stages] == [
        (name, "Succeeded", 1) for name in STAGES
    ]
    assert condition(status, "Ready") == ("True", "GatesPassed")
    assert status.release is not None
    release = asyncio.run(world.api.get(CONFIG_MAPS, "distillery-release-router", NAMESPACE))
    assert release["data"]["version"] == status.release.version
    assert set(world.kuberay.commits.values()) == {1}
    assert world.told.complaints == []


def test_a_finished_job_costs_at_most_forty_writes() -> None:
    world, _ = undisturbed()
    by_hand = {"RayCluster", "Pod"}
    ours = [
        (verb, plural)
        for verb, plural, name in world.api.writes
        if plural not in ("rayclusters", "pods")
        and (verb, plural) not in (("status", "rayjobs"), ("patch", "configmaps"))
    ]
    assert by_hand
    assert len(ours) <= 40, Counter(ours)


def test_objects_are_listed_only_after_an_attempt_without_a_result() -> None:
    async def run(failures: int) -> dict[str, int]:
        world = World()
        world.kuberay.fail = failing("infrastructure", "Trouble", failures)
        await world.apply()
        assert (await world.run(ended, turns=600)).phase == "Succeeded"
        return Counter(kind for kind in world.kube.listed if kind != "distillationprofiles")

    assert asyncio.run(run(0)) == {}
    submissions = 4  # teacher again, filter, student, evaluation
    assert asyncio.run(run(1)) == dict.fromkeys(("rayjobs", "rayclusters", "pods"), submissions)


def test_a_finished_job_wants_no_more_attention_and_writes_nothing_more() -> None:
    world, status = undisturbed()

    async def again() -> float | None:
        for _ in range(3):
            await world.turn(100.0)
        return await world.operator.reconcile(NAMESPACE, "ticket-routing")

    asyncio.run(again())
    writes = len(world.api.writes)
    assert asyncio.run(again()) is None
    assert world.api.writes[writes:] == []
    assert asyncio.run(world.status()) == status


def test_a_finished_job_takes_no_memory_of_its_reports() -> None:
    world, _ = undisturbed()
    asyncio.run(world.turn(100.0))
    assert world.operator._observer._memory == {}


WRITES = 45
FAULTS = ["crash before", "crash after", "unavailable", "lost answer", "conflict"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_write_changes_nothing_in_the_end(fault: str) -> None:
    _, expected = undisturbed()

    async def disturbed(nth: int) -> World:
        world = World()
        world.start_operator(nth, fault)
        await finished(world)
        return world

    for nth in range(1, WRITES):
        world = asyncio.run(disturbed(nth))
        assert story(asyncio.run(world.status())) == story(expected), f"{fault} at write {nth}"
        assert not any(s.state == "Failed" for status in world.told.statuses for s in status.stages)
        assert set(world.kuberay.commits.values()) == {1}
        assert set(world.kuberay.most_live.values()) == {1}


def test_two_operators_at_once_are_harmless() -> None:
    async def both() -> World:
        world = World()
        await world.apply()
        first, second = world.start_operator(), None
        first_cache = world.cache
        second = world.start_operator()
        second_cache = world.cache
        for _ in range(120):
            world.now += 1.0
            await world.kuberay.tick()
            for operator, cache in ((first, first_cache), (second, second_cache)):
                world.cache = cache
                await world.look()
                world.operator = operator
            results = await asyncio.gather(
                first.reconcile(NAMESPACE, "ticket-routing"),
                second.reconcile(NAMESPACE, "ticket-routing"),
                return_exceptions=True,
            )
            assert all(not isinstance(r, BaseException) or isinstance(r, Exception) for r in results)
        return world

    _, expected = undisturbed()
    world = asyncio.run(both())
    assert story(asyncio.run(world.status())) == story(expected)
    assert set(world.kuberay.commits.values()) == {1}
    assert set(world.kuberay.most_live.values()) == {1}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("victim", ["rayjobs", "rayclusters"])
def test_objects_deleted_by_hand_lead_to_another_attempt(stage: str, victim: str) -> None:
    async def run() -> World:
        world = World()
        held = [True]
        world.kuberay.hold = lambda a: held[0] and a.run.stage == stage
        await world.apply()
        await world.run(lambda s: any(x.name == stage and x.progress for x in s.stages))
        for key in [k for k in world.api.objects if k[0] == victim and f"-{stage}-" in k[2]]:
            del world.api.objects[key]
        held[0] = False
        await world.run(ended)
        return world

    world = asyncio.run(run())
    _, expected = undisturbed()
    assert story(asyncio.run(world.status())) == story(expected)
    assert set(world.kuberay.most_live.values()) == {1}


def test_a_second_object_of_the_same_spec_adopts_everything_after_its_dataset() -> None:
    world, first = undisturbed()

    async def again() -> Status:
        await world.remove(DISTILLATION_JOBS, "ticket-routing")
        for key in [k for k in world.api.objects if k[0] in ("rayjobs", "rayclusters", "pods")]:
            del world.api.objects[key]
        return await finished(world)

    second = asyncio.run(again())
    assert [(s.name, s.reused) for s in second.stages] == [(name, True) for name in STAGES]
    assert [s.identity for s in second.stages] == [s.identity for s in first.stages]
    assert sum(s.attempt for s in second.stages) == 1


def test_an_edit_of_the_filter_runs_filter_student_and_evaluation_again() -> None:
    world, first = undisturbed()

    async def edit() -> Status:
        await world.apply(filter={"discard": {"max": 0.4}})
        return await world.run(lambda s: s.observed_generation == 2 and ended(s))

    second = asyncio.run(edit())
    assert [s.attempt for s in second.stages] == [1, 1, 2, 2, 2]
    assert [s.identity for s in second.stages[:2]] == [s.identity for s in first.stages[:2]]


def test_an_edit_in_mid_run_stops_what_it_changes_and_nothing_else() -> None:
    async def run() -> tuple[World, Status]:
        world = World()
        held = [True]
        world.kuberay.hold = lambda a: held[0] and a.run.stage == "filter"
        await world.apply()
        await world.run(lambda s: any(x.name == "filter" and x.progress for x in s.stages))
        await world.apply(evaluation={**world.manifest["spec"]["evaluation"], "noiseRows": 7})
        for _ in range(5):
            await world.turn()
        assert (await world.status()).stages[2].attempt == 1
        await world.apply(filter={"discard": {"max": 0.4}})
        await world.run(lambda s: s.stages[2].attempt == 2)
        held[0] = False
        return world, await world.run(ended)

    world, status = asyncio.run(run())
    assert [s.attempt for s in status.stages] == [1, 1, 2, 1, 1]
    assert set(world.kuberay.most_live.values()) == {1}


def test_suspend_and_resume_by_annotation() -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        held = [True]
        world.kuberay.hold = lambda a: held[0] and a.run.stage == "student"
        await world.apply()
        await world.run(lambda s: any(x.name == "student" and x.progress for x in s.stages))
        await world.annotate(suspend_requested_at=EARLY)
        suspended = await world.run(lambda s: s.phase == "Suspended")
        for _ in range(30):
            await world.turn()
        assert not [k for k in world.api.objects if k[0] in ("rayclusters", "pods")]
        assert (await world.status()).phase == "Suspended"
        held[0] = False
        await world.annotate(resume_requested_at=LATE)
        return suspended, await world.run(ended)

    suspended, status = asyncio.run(run())
    assert condition(suspended, "Suspended")[0] == condition(suspended, "Reconciling")[0] == "True"
    assert status.phase == "Succeeded"
    assert status.handled == {"suspend-requested-at": EARLY, "resume-requested-at": LATE}
    assert status.stages[3].attempt == 2


def test_cancel_then_retry() -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        world.kuberay.hold = lambda a: a.run.stage == "teacher"
        await world.apply()
        await world.run(lambda s: any(x.name == "teacher" and x.progress for x in s.stages))
        await world.annotate(cancel_requested_at=EARLY)
        cancelled = await world.run(ended)
        world.kuberay.hold = lambda a: False
        await world.annotate(retry_requested_at=LATE)
        return cancelled, await world.run(lambda s: s.phase == "Succeeded")

    cancelled, status = asyncio.run(run())
    assert condition(cancelled, "Stalled") == condition(cancelled, "Failed") == ("True", "Cancelled")
    assert status.phase == "Succeeded"


def test_a_rerun_runs_one_stage_and_what_follows_from_it() -> None:
    world, first = undisturbed()

    async def rerun() -> Status:
        await world.annotate(rerun_requested_at=f"{EARLY}/student")
        return await world.run(lambda s: ended(s) and s.stages[3].identity != first.stages[3].identity)

    second = asyncio.run(rerun())
    assert [s.attempt for s in second.stages] == [1, 1, 1, 2, 2]


def test_infrastructure_failures_are_retried_and_user_errors_are_not() -> None:
    async def run(failure_class: str, times: int) -> Status:
        world = World()
        world.kuberay.fail = failing(failure_class, "Trouble", times)
        await world.apply()
        return await world.run(ended, turns=600)

    recovered = asyncio.run(run("infrastructure", 2))
    assert (recovered.phase, recovered.stages[1].attempt) == ("Succeeded", 3)
    exhausted = asyncio.run(run("infrastructure", MAX_INFRASTRUCTURE_FAILURES))
    assert (exhausted.phase, exhausted.stages[1].attempt) == ("Failed", MAX_INFRASTRUCTURE_FAILURES)
    stopped = asyncio.run(run("user", 1))
    assert (stopped.phase, condition(stopped, "Stalled")) == ("Failed", ("True", "Trouble"))
    budget = asyncio.run(run("budget", 1))
    assert budget.phase == "Stopped"


def test_a_raised_budget_goes_on() -> None:
    async def run() -> Status:
        world = World()
        world.kuberay.fail = failing("budget", "BudgetReached", 1)
        await world.apply(budget={"maxCost": "1.00"})
        await world.run(ended)
        await world.apply(budget={"maxCost": "2.00"})
        return await world.run(lambda s: s.phase == "Succeeded")

    assert asyncio.run(run()).stages[1].attempt == 2


def test_a_silent_worker_is_given_up_after_its_deadline() -> None:
    async def run() -> Status:
        world = World()
        original = world.kuberay.hold
        quiet = [False]

        def hold(assignment: Assignment) -> bool:
            return assignment.run.stage == "filter" and assignment.attempt == 1

        world.kuberay.hold = hold
        await world.apply()
        await world.run(lambda s: any(x.name == "filter" and x.progress for x in s.stages))
        report = world.kuberay._report

        async def silent(assignment: Assignment, **fields: Any) -> None:
            if not hold(assignment):
                await report(assignment, **fields)

        world.kuberay._report = silent  # type: ignore[method-assign]
        assert original is not quiet
        return await world.run(ended, turns=600)

    status = asyncio.run(run())
    assert (status.phase, status.stages[2].attempt) == ("Succeeded", 2)


def test_time_to_live_removes_rayjobs_and_the_job_stays_finished() -> None:
    async def run() -> tuple[Status, Status, list[str]]:
        world = World()
        await world.apply(ttlSecondsAfterFinished=60)
        before = await world.run(ended)
        assert [k for k in world.api.objects if k[0] == "rayjobs"]
        for _ in range(5):
            await world.turn(30.0)
        world.start_operator()
        await world.turn()
        return before, await world.status(), [k[0] for k in world.api.objects]

    before, after, left = asyncio.run(run())
    assert after == before
    assert left.count("rayjobs") == 0
    assert left.count("configmaps") == 4  # record, reports, profile snapshot, release


def test_a_spec_that_is_wrong_is_told_with_its_field_and_repaired_by_an_edit() -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        await world.apply(dataset={"sources": [{"uri": "s3://logs/x.jsonl", "format": "plain"}]})
        wrong = await world.run(lambda s: s.phase == "Failed")
        await world.apply(dataset=world.manifest["spec"]["dataset"])
        return wrong, await world.run(lambda s: s.phase == "Succeeded")

    wrong, right = asyncio.run(run())
    assert condition(wrong, "Stalled") == ("True", "InvalidSpec")
    found = find_condition(wrong.conditions, ConditionType.READY)
    assert found is not None
    assert "spec.dataset.input" in found.message
    assert right.phase == "Succeeded"


def test_a_file_beside_the_manifest_is_refused_before_anything_is_started() -> None:
    async def run() -> Status:
        world = World()
        await world.apply(student={**world.manifest["spec"]["student"], "base": {"uri": "file://base"}})
        return await world.run(ended)

    status = asyncio.run(run())
    assert condition(status, "Stalled") == ("True", "InvalidSpec")
    assert status.progress.message == (
        "spec.student.base.uri: is relative to the manifest's folder, which no pod can read "
        "→ put the data where the cluster reads it: s3://…"
    )


def test_the_reports_of_a_job_that_is_rerun_for_months_do_not_pile_up() -> None:
    async def run() -> tuple[Status, Status, int]:
        world = World()
        before = await finished(world)
        for _ in range(MANY_REPORTS):
            await world.annotate(rerun_requested_at=f"{timestamp(world.now)}/evaluation")
            await world.turn()
            await world.run(ended)
        world.start_operator()
        after = await world.run(ended)
        maps = await world.api.list(CONFIG_MAPS)
        [reports] = [m["data"] for m in maps if m["metadata"]["name"].endswith("-reports")]
        return before, after, len(reports)

    before, after, left = asyncio.run(run())
    assert left <= MANY_REPORTS
    assert after.stages[4].attempt == 1 + MANY_REPORTS
    assert after.stages[:4] == before.stages[:4]
    assert (after.phase, after.cost) == ("Succeeded", before.cost)


def gold(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "DistillationProfile",
        "metadata": {"name": "gold"},
        "spec": spec,
    }


async def edit_profile(world: World, **spec: Any) -> None:
    profile = await world.api.get(DISTILLATION_PROFILES, "gold")
    await world.api.replace(DISTILLATION_PROFILES, {**profile, "spec": spec})


async def images(world: World) -> dict[str, str]:
    """Return the image of each RayJob's head by stage and attempt."""
    found = {}
    for job in await world.api.list(RAY_JOBS):
        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        labels = job["metadata"]["labels"]
        found[f"{labels[STAGE_LABEL]}.{labels[ATTEMPT_LABEL]}"] = head["image"]
    return found


def test_a_running_generation_keeps_its_profile_until_a_retry_looks_at_it_anew() -> None:
    async def run() -> dict[str, str]:
        world = World()
        world.kuberay.fail = failing("user", "Misfit", 2)
        await world.api.create(DISTILLATION_PROFILES, gold(image="our/worker:wrong"))
        await world.apply(profile="gold")
        assert (await world.run(ended)).phase == "Failed"
        await edit_profile(world, image="our/worker:right")
        await world.annotate(retry_requested_at=timestamp(world.now))
        assert (await world.run(lambda s: s.stages[1].attempt == 2 and ended(s))).phase == "Failed"
        await edit_profile(world, image="our/worker:later")
        await world.turn()
        await world.annotate(retry_requested_at=timestamp(world.now))
        assert (await world.run(lambda s: s.phase == "Succeeded", turns=400)).phase == "Succeeded"
        return await images(world)

    assert asyncio.run(run()) == {
        "dataset.1": "our/worker:wrong",
        "teacher.1": "our/worker:wrong",
        "teacher.2": "our/worker:right",
        "teacher.3": "our/worker:later",
        "filter.1": "our/worker:later",
        "student.1": "our/worker:later",
        "evaluation.1": "our/worker:later",
    }


def test_a_profile_with_a_wrong_pod_template_is_judged_again_when_it_is_repaired() -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        sidecar = {"spec": {"containers": [{"name": "ray-head"}, {"name": "logs"}]}}
        await world.api.create(DISTILLATION_PROFILES, gold(pods={"student": {"head": sidecar}}))
        await world.apply(profile="gold")
        wrong = await world.run(ended)
        await edit_profile(world, pods={})
        return wrong, await world.run(lambda s: s.phase == "Succeeded")

    wrong, right = asyncio.run(run())
    assert condition(wrong, "Stalled") == ("True", "ProfileViolated")
    assert wrong.stages == []  # before anything was started
    assert right.phase == "Succeeded"


def test_a_profile_that_is_missing_is_waited_for() -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        await world.apply(profile="gold")
        waiting = await world.run(lambda s: bool(s.conditions))
        profile = gold(image="our/worker:1", queueLabels={"kueue.x-k8s.io/queue-name": "team"})
        await world.api.create(DISTILLATION_PROFILES, profile)
        done = await world.run(ended)
        jobs = await world.api.list(RAY_JOBS)
        assert all(job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team" for job in jobs)
        return waiting, done

    waiting, done = asyncio.run(run())
    assert condition(waiting, "Reconciling") == ("True", "ProfileMissing")
    assert (done.phase, done.profile and done.profile.name) == ("Succeeded", "gold")


def too_deep() -> Any:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"a": deep}
    return deep


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (too_deep(), "is nested 100 or more deep → flatten it: at most 64 are allowed"),
        ({"a": "x" * 40_000}, "has 40,009 bytes as JSON → at most 32,768 bytes are allowed"),
        ({"a": [{}] * 300_000}, "has more than 131,072 bytes as JSON → at most 32,768 bytes are allowed"),
    ],
)
@pytest.mark.parametrize("is_default", [True, False])
def test_a_profile_that_is_too_deep_or_too_large_holds_up_those_who_use_it(
    template: Any, words: str, is_default: bool
) -> None:
    """It is told by profile and field; who names another goes on, and everybody does when it is repaired."""

    async def run() -> tuple[Status, Status, Status]:
        world = World()
        await world.api.create(DISTILLATION_PROFILES, gold(pods={"student": {"head": template}}))
        if is_default:
            marks = {"annotations": {"distillery.dev/is-default-profile": "true"}}
            await world.api.merge(DISTILLATION_PROFILES, "gold", {"metadata": marks})
        other = gold(image="our/worker:1")
        await world.api.create(DISTILLATION_PROFILES, {**other, "metadata": {"name": "other"}})
        await world.apply(**({} if is_default else {"profile": "gold"}))
        held = await world.run(lambda s: bool(s.conditions))
        await world.apply(profile="other")
        others = await world.run(lambda s: s.phase == "Running")
        await edit_profile(world, pods={})
        await world.apply(profile="gold")
        return held, others, await world.run(ended)

    held, others, done = asyncio.run(run())
    message = f"DistillationProfile gold is wrong: spec.pods.student.head: {words}"
    assert condition(held, "Reconciling") == ("True", "ProfileMissing")
    assert held.progress.message == message
    assert others.profile is not None
    assert (others.profile.name, done.phase) == ("other", "Succeeded")


def test_of_several_default_profiles_the_newest_counts_and_no_other_is_read() -> None:
    async def run() -> tuple[Status, list[str]]:
        world, read = World(), []
        for name, created in (("b", "2026-01-02"), ("a", "2026-01-03"), ("c", "2026-01-01"), ("d", "")):
            marks = {"distillery.dev/is-default-profile": "true" if created else "false"}
            metadata = {"name": name, "annotations": marks, "creationTimestamp": f"{created}T00:00:00Z"}
            body = {**gold(image="our/worker:1"), "metadata": metadata}
            await world.api.create(DISTILLATION_PROFILES, body)
        find = world.api.find

        async def reading(resource: Any, name: str, namespace: str | None = None) -> Any:
            read.extend([name] if resource is DISTILLATION_PROFILES else [])
            return await find(resource, name, namespace)

        world.api.find = reading  # type: ignore[method-assign]
        await world.apply()
        return await world.run(ended), read

    done, read = asyncio.run(run())
    assert done.profile is not None
    assert (done.profile.name, read) == ("a", ["a"])


def test_garbage_in_the_reports_is_ignored_and_said_so() -> None:
    async def run() -> World:
        world = World()
        world.kuberay.hold = lambda a: a.run.stage == "filter" and not world.told.complaints
        await world.apply()
        status = await world.run(lambda s: any(x.name == "filter" and x.progress for x in s.stages))
        assert status.stages[2].state == "Running"
        name = next(k[2] for k in world.api.objects if k[2].endswith("-reports"))
        patch = {"data": {"dataset.1": "{", "teacher.1": "x" * 9000, "nothing.7": "{}"}}
        await world.api.merge(CONFIG_MAPS, name, patch, NAMESPACE)
        await world.run(ended)
        return world

    world = asyncio.run(run())
    assert set(world.kuberay.commits.values()) == {1}
    complaints = " ".join(world.told.complaints)
    assert "report dataset.1 is ignored: text: Invalid JSON" in complaints
    assert "report teacher.1 is ignored: 9000 bytes" in complaints
    assert "report 'nothing.7' is ignored: there is no such attempt" in complaints


def test_another_storage_means_other_artifacts() -> None:
    world, first = undisturbed()

    async def move() -> Status:
        world.kuberay.store.clear()
        world.kuberay.commits.clear()
        await world.apply(storage={"uri": "s3://elsewhere/distillery"})
        return await world.run(lambda s: s.observed_generation == 2 and ended(s))

    second = asyncio.run(move())
    assert [s.attempt for s in second.stages] == [2] * 5
    assert [s.identity for s in second.stages] == [s.identity for s in first.stages]
    assert all(s.artifact and s.artifact.startswith("s3://elsewhere/") for s in second.stages)
    assert len(world.kuberay.commits) == 5


def test_a_job_whose_spec_was_broken_stops_and_goes_on_when_it_is_repaired() -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        world.kuberay.hold = lambda a: a.run.stage == "teacher"
        await world.apply()
        await world.run(lambda s: any(x.name == "teacher" and x.progress for x in s.stages))
        await world.apply(dataset={"sources": []})
        for _ in range(10):
            await world.turn()
        assert not [k for k in world.api.objects if k[0] in ("rayclusters", "pods")]
        broken = await world.status()
        world.kuberay.hold = lambda a: False
        await world.apply(dataset=world.manifest["spec"]["dataset"])
        return broken, await world.run(ended)

    broken, repaired = asyncio.run(run())
    assert condition(broken, "Stalled") == ("True", "InvalidSpec")
    assert [(s.state, s.attempt) for s in repaired.stages] == [
        ("Succeeded", attempt) for attempt in (1, 2, 1, 1, 1)
    ]


def test_what_runs_goes_on_while_its_profile_is_away_and_stops_on_request() -> None:
    async def run() -> None:
        world = World()
        world.kuberay.hold = lambda a: a.run.stage == "teacher"
        await world.api.create(DISTILLATION_PROFILES, gold())
        await world.apply(profile="gold")
        await world.run(lambda s: any(x.name == "teacher" and x.progress for x in s.stages))
        await world.remove(DISTILLATION_PROFILES, "gold", None)
        await world.apply(budget={"maxCost": "7.00"})  # a new generation has to look the profile up
        for _ in range(5):
            await world.turn()
        assert condition(await world.status(), "Reconciling") == ("True", "ProfileMissing")
        assert [k for k in world.api.objects if k[0] == "rayclusters"]
        await world.annotate(cancel_requested_at=EARLY)
        for _ in range(10):
            await world.turn()
        assert not [k for k in world.api.objects if k[0] in ("rayclusters", "pods")]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NotFound("rayjobs", "", True), "rayjobs: this kind is not installed → install KubeRay"),
        (
            kube_errors.Forbidden("rayjobs", "exceeded quota: team"),
            "rayjobs: exceeded quota: team → raise the quota of the namespace, or delete what is not needed",
        ),
        (Unavailable("rayjobs", "500 webhook timed out"), "rayjobs: 500 webhook timed out"),
    ],
)
def test_an_attempt_that_cannot_be_created_is_told_with_the_reason(
    error: DistilleryError, message: str
) -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        await world.apply()
        await world.run(lambda s: any(x.name == "teacher" and x.state == "Running" for x in s.stages))
        create = world.api.create

        async def refuse(resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
            if resource is RAY_JOBS:
                raise error
            return await create(resource, body)

        world.api.create = refuse  # type: ignore[method-assign]
        for _ in range(20):
            with contextlib.suppress(DistilleryError):
                await world.turn()
        waiting = await world.status()
        world.api.create = create  # type: ignore[method-assign]
        return waiting, await world.run(ended)

    waiting, done = asyncio.run(run())
    assert condition(waiting, "Reconciling") == ("True", "NotSubmitted")
    assert waiting.progress.message == f"filter cannot be started now: {message}"
    assert [s.state for s in waiting.stages] == ["Succeeded", "Succeeded", "Pending", "Pending", "Pending"]
    assert [(s.state, s.attempt) for s in done.stages] == [("Succeeded", 1)] * 5


def test_a_damaged_record_is_told_and_a_deleted_one_is_no_loss() -> None:
    async def run() -> tuple[World, Status, Status]:
        world = World()
        held = [True]
        world.kuberay.hold = lambda a: held[0] and a.run.stage == "filter"
        await world.apply()
        await world.run(lambda s: any(x.name == "filter" and x.progress for x in s.stages))
        (name,) = [k[2] for k in world.api.objects if k[2].endswith("-record")]
        await world.api.merge(CONFIG_MAPS, name, {"data": {"teacher.1": "scribble"}}, NAMESPACE)
        await world.turn()
        damaged = await world.status()
        await world.remove(CONFIG_MAPS, name)
        held[0] = False
        return world, damaged, await world.run(ended)

    world, damaged, status = asyncio.run(run())
    assert condition(damaged, "Reconciling") == ("True", "RecordDamaged")
    assert status.phase == "Succeeded"
    assert set(world.kuberay.commits.values()) == {1}


@pytest.mark.parametrize("harm", ["damaged", "deleted"])
def test_a_finished_job_needs_no_record_to_stay_finished(harm: str) -> None:
    world, before = undisturbed()

    async def run() -> list[str]:
        (name,) = [k[2] for k in world.api.objects if k[2].endswith("-record")]
        if harm == "damaged":
            await world.api.merge(CONFIG_MAPS, name, {"data": {"teacher.1": "scribble"}}, NAMESPACE)
        else:
            await world.remove(CONFIG_MAPS, name)
        writes = len(world.api.writes)
        for _ in range(3):
            world.start_operator()
            await world.turn(100.0)
        return [
            verb for verb, plural, _ in world.api.writes[writes:] if plural not in ("rayclusters", "pods")
        ]

    assert asyncio.run(run()) == []
    assert asyncio.run(world.status()) == before
    assert any("record entry teacher.1 cannot be read" in said for said in world.told.complaints) == (
        harm == "damaged"
    )


def test_a_profile_that_somebody_forged_beforehand_is_not_believed_and_stays_until_they_remove_it() -> None:
    async def run() -> tuple[dict[str, str], Status, Status]:
        world = World()
        await world.api.create(DISTILLATION_PROFILES, gold(image="our/worker:1"))
        await world.apply(profile="gold")
        await world.turn()
        (ours,) = [m for m in await world.api.list(CONFIG_MAPS) if "-profile-" in m["metadata"]["name"]]
        name = ours["metadata"]["name"].removesuffix("1") + "2"
        forged = json.loads(ours["data"]["profile.json"]) | {"image": "evil/miner:1"}
        metadata = {"name": name, "namespace": NAMESPACE}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        data = {**ours["data"], "profile.json": json.dumps(forged)}
        theirs = await world.api.create(CONFIG_MAPS, {**body, "data": data})
        await world.apply(budget={"maxCost": "7.00"})
        for _ in range(5):
            await world.turn()
        told = await world.status()
        assert await world.api.get(CONFIG_MAPS, name, NAMESPACE) == theirs
        await world.remove(CONFIG_MAPS, name)
        return await images(world), told, await world.run(ended)

    found, told, done = asyncio.run(run())
    assert condition(told, "Reconciling") == ("True", "NameTaken")
    assert (done.phase, set(found.values())) == ("Succeeded", {"our/worker:1"})


def test_a_profile_with_another_service_account_gets_another_binding() -> None:
    async def run() -> list[tuple[str, str]]:
        world = World()
        await world.api.create(DISTILLATION_PROFILES, gold())
        await world.apply(profile="gold")
        await world.run(lambda s: any(x.name == "teacher" and x.state == "Running" for x in s.stages))
        await edit_profile(world, serviceAccountName="irsa")
        await world.annotate(retry_requested_at=timestamp(world.now))
        await world.run(ended)
        bindings = await world.api.list(ROLE_BINDINGS)
        return sorted((b["subjects"][0]["name"] == "irsa", b["roleRef"]["name"]) for b in bindings)

    (own, role), (other, same_role) = asyncio.run(run())
    assert (own, other) == (False, True)
    assert role == same_role


def test_a_finished_job_stays_finished_when_a_release_makes_another_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def upgrade() -> None:
        changed = [replace(s, revision=s.revision + 1) if s.name == "teacher" else s for s in catalog.STAGES]
        monkeypatch.setattr(plan_module, "STAGES", tuple(changed))

    async def run() -> tuple[Status, Status, Status]:
        world = World()
        before = await finished(world)
        upgrade()
        world.start_operator()
        for _ in range(5):
            await world.turn()
        after = await world.status()
        await world.annotate(rerun_requested_at=f"{timestamp(world.now)}/evaluation")
        await world.turn()
        return before, after, await world.run(ended)

    before, after, rerun = asyncio.run(run())
    assert after == before
    assert [s.attempt for s in rerun.stages] == [1, 2, 2, 2, 2]


def test_a_release_that_another_job_publishes_is_told_in_the_status() -> None:
    async def run() -> Status:
        world = World()
        await world.apply()
        theirs = {"name": "other", "namespace": NAMESPACE, "uid": "other-uid"}
        other = await world.api.create(DISTILLATION_JOBS, {**world.manifest, "metadata": theirs})
        uid = other["metadata"]["uid"]
        labels = {"app.kubernetes.io/managed-by": "distillery"}
        metadata = {"name": "distillery-release-router", "namespace": NAMESPACE, "labels": labels}
        data = {PUBLISHER: f"other/{uid}", "version": "000000000000"}
        await world.api.create(
            CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        )
        return await world.run(ended)

    status = asyncio.run(run())
    ready = find_condition(status.conditions, ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.message) == (
        "True",
        "every gate has passed; but ReleaseConflict: release router is published by other "
        "→ choose another release.name",
    )


def test_a_rerun_of_a_damaged_artifact_forgives_the_stage_that_could_not_read_it() -> None:
    async def run() -> tuple[Status, Status]:
        world = World()
        left = [1]

        def fail(assignment: Assignment) -> Report | None:
            if assignment.run.stage != "filter" or not left[0]:
                return None
            left[0] -= 1
            failure = Failure(failure_class="user", reason="ArtifactCorrupt", message="rerun teacher")
            return Report(stage="filter", recipe="", attempt=0, state="failed", failure=failure)

        world.kuberay.fail = fail
        await world.apply()
        damaged = await world.run(ended)
        await world.annotate(rerun_requested_at=f"{timestamp(world.now)}/teacher")
        await world.turn()
        return damaged, await world.run(ended)

    damaged, repaired = asyncio.run(run())
    assert damaged.phase == "Failed"
    assert (repaired.phase, [s.attempt for s in repaired.stages]) == ("Succeeded", [1, 2, 2, 1, 1])

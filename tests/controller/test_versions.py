"""A worker that is too old for what a job uses is told apart from all other failures, and never tried again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from controller_world import NAMESPACE, World, ended
from distillery.api.v1alpha1.conditions import ConditionType, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.controller import apply
from distillery.kube.resources import CONFIG_MAPS, DISTILLATION_PROFILES, RAY_JOBS
from distillery.manifests.configmap import ASSIGNMENT_KEY
from distillery.planning import plan
from distillery.planning.control import timestamp
from distillery.stages.report import Failure, Report
from distillery.stages.teacher.spec import TeacherParams

OLD = (
    "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):\n"
    '{"level": "error", "message": "the assignment has version 2: use a newer worker image"}'
)
MISSING = (
    "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):\n"
    '{"message": "there is no usable assignment in /etc/distillery/assignment.json: [Errno 2] No such file"}'
)


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose teacher stage uses what the first workers do not know."""
    monkeypatch.setattr(plan, "version_of", lambda params: 2 if isinstance(params, TeacherParams) else 1)
    monkeypatch.setattr(apply, "READERS", {1: "0.1.0", 2: "0.2.0"})


def gives_up(world: World, words: str, times: int | None = None) -> None:
    """Let the process of the teacher stage end without a report, as KubeRay tells it."""
    work, left = world.kuberay._work, [times]

    async def end(job: dict[str, Any]) -> None:
        if job["metadata"]["labels"]["distillery.dev/stage"] != "teacher" or left[0] == 0:
            return await work(job)
        left[0] = None if left[0] is None else left[0] - 1
        told = {
            "jobStatus": "FAILED",
            "jobDeploymentStatus": "Failed",
            "reason": "AppFailed",
            "message": words,
        }
        await world.api.replace_status(RAY_JOBS, {**job, "status": told})
        await world.kuberay.shut_down(job)

    world.kuberay._work = end  # type: ignore[method-assign]


def stalled(status: Status) -> tuple[str, str]:
    found = find_condition(status.conditions, ConditionType.STALLED)
    assert found is not None
    assert found.status == "True"
    return found.reason, found.message


def teacher_attempt(status: Status) -> tuple[str, int]:
    stage = next(stage for stage in status.stages if stage.name == "teacher")
    return stage.state, stage.attempt


async def versions(world: World) -> Mapping[str, int]:
    maps = await world.api.list(CONFIG_MAPS, NAMESPACE)
    texts = [m["data"][ASSIGNMENT_KEY] for m in maps if ASSIGNMENT_KEY in (m.get("data") or {})]
    return {json.loads(t)["run"]["stage"]: json.loads(t)["version"] for t in texts}


PROFILE = {
    "apiVersion": "distillery.dev/v1alpha1",
    "kind": "DistillationProfile",
    "metadata": {"name": "standard"},
    "spec": {"image": "example.com/worker:0.1.0"},
}


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("profile", ["standard", None])
def test_an_old_worker_image_is_named_with_what_to_set_and_tried_once(profile: str | None) -> None:
    async def run() -> None:
        world = World()
        await world.api.create(DISTILLATION_PROFILES, PROFILE)
        gives_up(world, OLD, 1)
        await world.apply(**({"profile": profile} if profile else {}))
        status = await world.run(ended)
        where = "example.com/worker:0.1.0 (from profile standard)"
        what = "set spec.image of profile standard"
        if profile is None:
            where, what = "distillery/worker:test (the operator's own choice)", "set the chart's workerImage"
        assert stalled(status) == (
            "WorkerTooOld",
            f"teacher: the worker image {where} is older than what this job uses"
            f" → {what} to that of release 0.2.0 or newer, then retry",
        )
        assert teacher_attempt(status) == ("Failed", 1)
        assert await versions(world) == {"dataset": 1, "teacher": 2}
        for _ in range(50):
            await world.turn(600)
        assert await world.status() == status
        await world.annotate(retry_requested_at=timestamp(world.now))
        repaired = await world.run(lambda status: status.phase == "Succeeded")
        assert teacher_attempt(repaired) == ("Succeeded", 2)

    asyncio.run(run())


@pytest.mark.usefixtures("newer")
def test_a_worker_that_can_say_so_is_answered_with_the_same_words() -> None:
    async def run() -> Status:
        world = World()
        failure = Failure(
            failure_class="user", reason="WorkerTooOld", message="this worker, of release 0.1.5 …"
        )
        world.kuberay.fail = lambda assignment: (
            Report(stage="teacher", recipe="", attempt=0, state="failed", failure=failure)
            if assignment.version == 2
            else None
        )
        await world.apply()
        return await world.run(ended)

    status = asyncio.run(run())
    assert stalled(status) == (
        "WorkerTooOld",
        "teacher: the worker image distillery/worker:test (the operator's own choice) is older than what this job"
        " uses → set the chart's workerImage to that of release 0.2.0 or newer, then retry",
    )


@pytest.mark.parametrize("newest", [True, False])
def test_an_assignment_that_is_not_there_is_no_question_of_age(
    newest: bool, request: pytest.FixtureRequest
) -> None:
    if newest:
        request.getfixturevalue("newer")

    async def run(times: int | None) -> Status:
        world = World()
        gives_up(world, MISSING, times)
        await world.apply()
        return await world.run(ended, turns=1000)

    assert teacher_attempt(asyncio.run(run(1))) == ("Succeeded", 2)
    status = asyncio.run(run(None))
    assert stalled(status) == (
        "AssignmentUnusable",
        f"teacher failed 5 times, last: a worker could not use its assignment: {MISSING}",
    )


def test_exit_status_two_of_an_assignment_that_every_worker_reads_is_tried_again() -> None:
    async def run() -> Status:
        world = World()
        gives_up(world, OLD, 1)
        await world.apply()
        return await world.run(ended)

    assert teacher_attempt(asyncio.run(run())) == ("Succeeded", 2)


def test_other_exit_statuses_are_what_they_were() -> None:
    async def run() -> Status:
        world = World()
        gives_up(world, OLD.replace("exit code 2", "exit code 20"))
        await world.apply()
        return await world.run(ended, turns=1000)

    assert stalled(asyncio.run(run()))[0] == "AppFailed"

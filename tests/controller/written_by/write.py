"""Writes down what a release leaves in a cluster: whole lives of a job, driven by that release's own operator.

Run it with the code of the release to be written down (see README.md); the operator that is under test never runs it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from controller_world import NAMESPACE, World, ended
from distillery.api.v1alpha1.status import Status
from distillery.kube.resources import CONFIG_MAPS, DISTILLATION_JOBS, DISTILLATION_PROFILES
from distillery.manifests.metadata import MANAGED_BY_LABEL, MANAGER
from distillery.manifests.release import PUBLISHER
from distillery.planning.control import timestamp
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure, Report

Life = Callable[[World], Awaitable[Any]]
STAGES = ("dataset", "teacher", "filter", "student", "evaluation")
LIVES: dict[str, Life] = {}
WHOLE = ("complete",)
"""Lives whose RayJobs are kept whole; elsewhere the operator reads nothing of what is left out."""
PROFILE_SPEC = {
    "image": "our/worker:1",
    "queueLabels": {"kueue.x-k8s.io/queue-name": "team"},
    "checkpointWindow": "90s",
    "ceilings": {"workers": 4, "gpus": 8, "maxCost": "500.00"},
    "allowed": {"teacherHosts": ["teacher", "*.example.com"]},
}


def life(function: Life) -> Life:
    """Register a life under the name of its function."""
    LIVES[function.__name__.replace("_", "-")] = function
    return function


def reports_of(world: World, stage: str) -> Callable[[Status], bool]:
    """Return a check that a stage has reported progress."""
    return lambda status: any(s.name == stage and s.progress is not None for s in status.stages)


def fail(world: World, stage: str, failure_class: str, reason: str, times: int = 1) -> None:
    """Let the next attempts of a stage fail."""
    left = [times]

    def failing(assignment: Assignment) -> Report | None:
        if assignment.run.stage != stage or not left[0]:
            return None
        left[0] -= 1
        failure = Failure.model_validate(
            {"failureClass": failure_class, "reason": reason, "message": f"{reason}, with its repair"}
        )
        return Report(stage="teacher", recipe="", attempt=0, state="failed", failure=failure)

    world.kuberay.fail = failing


def hold(world: World, stage: str) -> None:
    """Let a stage go on working."""
    world.kuberay.hold = lambda assignment: assignment.run.stage == stage


async def make_profile(world: World) -> None:
    await world.api.create(
        DISTILLATION_PROFILES,
        {
            "apiVersion": "distillery.dev/v1alpha1",
            "kind": "DistillationProfile",
            "metadata": {"name": "gold"},
            "spec": PROFILE_SPEC,
        },
    )


async def settle(world: World, turns: int = 10) -> None:
    """Let what is left of the last attempt go."""
    for _ in range(turns):
        await world.turn()


async def finish(world: World, **spec: Any) -> None:
    await world.apply(**spec)
    await world.run(ended, turns=2000)
    await settle(world)


@life
async def complete(world: World) -> None:
    await finish(world)


@life
async def complete_winding_down(world: World) -> None:
    await world.apply()
    await world.run(ended)


@life
async def complete_under_profile(world: World) -> None:
    await make_profile(world)
    await finish(world, profile="gold", budget={"maxCost": "20.00"})


@life
async def complete_without_release(world: World) -> None:
    del world.manifest["spec"]["release"]
    await finish(world)


@life
async def complete_release_conflict(world: World) -> None:
    await world.apply()
    metadata: dict[str, Any] = {"name": "other", "namespace": NAMESPACE}
    other = await world.api.create(DISTILLATION_JOBS, {**world.manifest, "metadata": metadata})
    data = {PUBLISHER: f"other/{other['metadata']['uid']}", "version": "000000000000"}
    labels = {MANAGED_BY_LABEL: MANAGER}
    metadata = {"name": "distillery-release-router", "namespace": NAMESPACE, "labels": labels}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    await world.api.create(CONFIG_MAPS, body)
    await world.run(ended)
    await settle(world)


@life
async def complete_after_edit(world: World) -> None:
    await finish(world)
    await world.apply(filter={"discard": {"max": 0.4}})
    await world.run(lambda s: s.observed_generation == 2 and ended(s))
    await settle(world)


@life
async def complete_after_rerun(world: World) -> None:
    await finish(world)
    await world.annotate(rerun_requested_at=f"{timestamp(world.now)}/student")
    await world.run(lambda s: ended(s) and s.stages[3].attempt == 2)
    await settle(world)


@life
async def complete_after_retry(world: World) -> None:
    fail(world, "teacher", "user", "TeacherRefused")
    await finish(world)
    await world.annotate(retry_requested_at=timestamp(world.now))
    await world.run(lambda s: s.phase == "Succeeded")
    await settle(world)


@life
async def complete_after_resume(world: World) -> None:
    hold(world, "student")
    await world.apply()
    await world.run(reports_of(world, "student"))
    await world.annotate(suspend_requested_at=timestamp(world.now))
    await world.run(lambda s: s.phase == "Suspended")
    await settle(world)
    hold(world, "")
    await world.annotate(resume_requested_at=timestamp(world.now + 1))
    await world.run(ended)
    await settle(world)


@life
async def complete_after_review(world: World) -> None:
    await world.apply(filter={"review": {"required": True}})
    waiting = await world.run(lambda s: s.phase == "AwaitingReview")
    await world.annotate(approve_review=waiting.stages[2].identity or "")
    await world.run(ended)
    await settle(world)


@life
async def complete_ttl_running(world: World) -> None:
    await finish(world, ttlSecondsAfterFinished=3600)


@life
async def complete_ttl_over(world: World) -> None:
    await finish(world, ttlSecondsAfterFinished=60)
    for _ in range(5):
        await world.turn(30.0)


@life
async def gates_failed(world: World) -> None:
    original = world.kuberay._report

    async def undecided(assignment: Assignment, **fields: Any) -> None:
        if (result := fields.get("result")) and assignment.run.stage == "evaluation":
            summary = {"verdict": "failed", "basis": "teacher", "retention": 0.71, "interval": [0.6, 0.8]}
            fields["result"] = result | {"summary": summary}
        await original(assignment, **fields)

    world.kuberay._report = undecided  # type: ignore[method-assign]
    await finish(world)


@life
async def failed_user(world: World) -> None:
    fail(world, "teacher", "user", "TeacherRefused")
    await finish(world)


@life
async def failed_infrastructure(world: World) -> None:
    fail(world, "student", "infrastructure", "Transient", times=5)
    await finish(world)


@life
async def failed_invalid_input(world: World) -> None:
    fail(world, "dataset", "user", "InvalidInput")
    await finish(world)


@life
async def failed_deadline(world: World) -> None:
    hold(world, "teacher")
    await finish(world, activeDeadlineSeconds=120)


@life
async def stopped_budget(world: World) -> None:
    fail(world, "teacher", "budget", "BudgetReached")
    await finish(world, budget={"maxCost": "1.00"})


@life
async def stopped_pilot(world: World) -> None:
    fail(world, "teacher", "pilot", "PilotRejected")
    await finish(world)


@life
async def stopped_gpu_hours(world: World) -> None:
    hold(world, "student")
    student = {**world.manifest["spec"]["student"], "workers": {"resources": {"nvidia.com/gpu": "2"}}}
    await finish(world, student=student, budget={"maxGPUHours": 0.05})


@life
async def stopped_cancelled(world: World) -> None:
    hold(world, "teacher")
    await world.apply()
    await world.run(reports_of(world, "teacher"))
    await world.annotate(cancel_requested_at=timestamp(world.now))
    await world.run(ended)
    await settle(world)


@life
async def refused_invalid_spec(world: World) -> None:
    await finish(world, dataset={"sources": []})


@life
async def refused_profile_violated(world: World) -> None:
    await make_profile(world)
    await finish(world, profile="gold")  # gold has a ceiling on maxCost


@life
async def refused_no_storage(world: World) -> None:
    del world.manifest["spec"]["storage"]
    await finish(world)


@life
async def refused_profile_missing(world: World) -> None:
    await world.apply(profile="gold")
    await settle(world)


@life
async def refused_after_edit(world: World) -> None:
    hold(world, "teacher")
    await world.apply()
    await world.run(reports_of(world, "teacher"))
    await world.apply(dataset={"sources": []})
    await settle(world)


def running(stage: str) -> Life:
    async def run(world: World) -> None:
        hold(world, stage)
        await world.apply()
        await world.run(reports_of(world, stage))

    return run


for name in STAGES:
    LIVES[f"running-{name}"] = running(name)


@life
async def running_under_profile(world: World) -> None:
    hold(world, "student")
    await make_profile(world)
    await world.apply(profile="gold", budget={"maxCost": "20.00"})
    await world.run(reports_of(world, "student"))


@life
async def running_pods_pending(world: World) -> None:
    await world.apply()
    await world.run(lambda s: s.stages != [] and s.stages[1].state == "Running")


@life
async def running_recorded_only(world: World) -> None:
    """A crash came between the record's entry of the filter and the creation of its RayJob."""
    await world.apply()
    await world.run(lambda s: s.stages != [] and s.stages[1].state == "Running")

    async def filter_is_recorded(_: Status) -> bool:
        maps = await world.api.list(CONFIG_MAPS, NAMESPACE)
        return any("filter.1" in (found.get("data") or {}) for found in maps)

    world.api.on_create = crash_at_assignment(world.api.on_create)
    for _ in range(20):
        try:
            await world.turn()
        except InterruptedError:
            world.start_operator()
            break
    assert await filter_is_recorded(await world.status())


def crash_at_assignment(
    before: Callable[[str, dict[str, Any]], None],
) -> Callable[[str, dict[str, Any]], None]:
    def crash(plural: str, body: dict[str, Any]) -> None:
        before(plural, body)
        if body["metadata"].get("labels", {}).get("distillery.dev/stage") == "filter":
            raise InterruptedError

    return crash


@life
async def running_rerun(world: World) -> None:
    await finish(world)
    hold(world, "student")
    await world.annotate(rerun_requested_at=f"{timestamp(world.now)}/student")
    await world.run(reports_of(world, "student"))


@life
async def running_retry(world: World) -> None:
    fail(world, "teacher", "user", "TeacherRefused")
    await finish(world)
    hold(world, "teacher")
    await world.annotate(retry_requested_at=timestamp(world.now))
    await world.run(reports_of(world, "teacher"))


@life
async def running_edited(world: World) -> None:
    await finish(world)
    hold(world, "filter")
    await world.apply(filter={"discard": {"max": 0.4}})
    await world.run(reports_of(world, "filter"))


@life
async def waiting_review(world: World) -> None:
    await world.apply(filter={"review": {"required": True}})
    await world.run(lambda s: s.phase == "AwaitingReview")
    await settle(world)


@life
async def waiting_suspended(world: World) -> None:
    hold(world, "student")
    await world.apply()
    await world.run(reports_of(world, "student"))
    await world.annotate(suspend_requested_at=timestamp(world.now))
    await world.run(lambda s: s.phase == "Suspended")
    await settle(world)


@life
async def waiting_suspended_by_spec(world: World) -> None:
    await world.apply(suspend=True)
    await world.run(lambda s: s.phase == "Suspended")


@life
async def waiting_back_off(world: World) -> None:
    fail(world, "teacher", "infrastructure", "Transient", times=2)
    await world.apply()
    await world.run(lambda s: any(c.reason == "BackingOff" for c in s.conditions))


@life
async def waiting_to_stop(world: World) -> None:
    hold(world, "teacher")
    await world.apply()
    await world.run(reports_of(world, "teacher"))
    await world.annotate(cancel_requested_at=timestamp(world.now))
    await world.operator.reconcile(NAMESPACE, "ticket-routing")


def real(world: World) -> None:
    """Give new objects what an API server gives them: a uid of the usual form, and when they were created."""

    def create(plural: str, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        metadata["uid"] = str(
            uuid.uuid5(uuid.NAMESPACE_DNS, f"{plural}/{metadata['name']}/{world.api.version}")
        )
        metadata["creationTimestamp"] = timestamp(world.now)

    world.api.on_create = create


def written(name: str, world: World) -> dict[str, Any]:
    """Return what there is, with the owners that the real KubeRay names."""
    clusters = {
        key[2]: body["metadata"]["uid"] for key, body in world.api.objects.items() if key[0] == "rayclusters"
    }
    objects = []
    for (plural, _, _), body in world.api.objects.items():
        if plural in ("rayclusters", "pods"):
            (owner,) = body["metadata"]["ownerReferences"]
            if plural == "pods":
                cluster = f"{owner['name']}-c"
                owner |= {"kind": "RayCluster", "name": cluster, "uid": clusters.get(cluster, owner["uid"])}
            owner |= {"controller": True, "blockOwnerDeletion": True}
        if plural == "rayclusters" or (plural == "rayjobs" and name not in WHOLE):
            body = {**body, "spec": {}}
        objects.append({"plural": plural, "object": body})
    store = [outcome.to_wire() for outcome in world.kuberay.store.values()]
    return {"now": world.now, "objects": objects, "store": store}


PHASES = {
    "complete": {"Succeeded"},
    "gates": {"GatesFailed"},
    "failed": {"Failed"},
    "stopped": {"Stopped"},
    "refused": {"Failed", "Pending"},
    "running": {"Running"},
    "waiting": {"AwaitingReview", "Suspended", "Running"},
}
"""What a life that is called so may look like in the end."""


async def live(name: str) -> dict[str, Any]:
    world = World()
    real(world)
    await LIVES[name](world)
    phase = (await world.status()).phase
    assert phase in PHASES[name.partition("-")[0]], (name, phase)
    return written(name, world)


def main(folder: Path) -> None:
    for name in LIVES:
        found = asyncio.run(live(name))
        lines = ",\n".join(json.dumps(item, sort_keys=True, ensure_ascii=False) for item in found["objects"])
        store = json.dumps(found["store"], sort_keys=True)
        text = f'{{"now": {found["now"]}, "store": {store}, "objects": [\n{lines}\n]}}\n'
        (folder / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""What only looks like a job's own is not believed, used, changed or deleted, wherever it is and whatever it says."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from controller_world import NAME, NAMESPACE, VIEWS, World, ended, is_watched
from distillery.api.v1alpha1.status import Status
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    Resource,
)
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure, Report

Object = dict[str, Any]
Story = Callable[[World], Coroutine[Any, Any, None]]
EARLY, LATE = "2026-11-03T12:30:00Z", "2026-11-03T13:30:00Z"
KINDS = {kind.plural: kind for kind in (RAY_JOBS, RAY_CLUSTERS, PODS, CONFIG_MAPS)}
STRANGER = "stranger-"
"""Beginning of the uid of everything that a stranger has made."""


@dataclass(frozen=True)
class Disguise:
    """How a stranger's object differs from the job's own one that it copies: by its place, name and ownerReferences."""

    place: str = NAMESPACE
    renamed: bool = True
    owners: Callable[[Object], list[Object]] = lambda owner: []


def pointing(**changed: Any) -> Callable[[Object], list[Object]]:
    return lambda owner: [{**owner, **changed}]


DISGUISES = {
    "another namespace, the same name and owner": Disguise("evil", False, pointing()),
    "another namespace, no owner": Disguise("evil", False),
    "another namespace, another name": Disguise("evil", True, pointing()),
    "no owner": Disguise(),
    "another owner": Disguise(owners=pointing(name="other", uid="another-uid")),
    "another uid of the owner": Disguise(owners=pointing(uid="another-uid")),
    "not the controller": Disguise(owners=lambda owner: [{**owner, "controller": False}]),
    "not even said who controls": Disguise(owners=lambda owner: [without(owner, "controller")]),
    "another kind of owner": Disguise(owners=pointing(kind="Deployment")),
    "another group of the owner": Disguise(owners=pointing(apiVersion="apps/v1")),
    "no group of the owner": Disguise(owners=pointing(apiVersion="v1")),
    "the job beside the controller": Disguise(
        owners=lambda owner: [
            {**owner, "controller": False},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True},
        ]
    ),
}
POD_STATES: list[Object] = [
    {},
    {"phase": "Running"},
    {"phase": "Failed", "reason": "Evicted", "message": "by a stranger"},
    {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "Preempted"}]},
    {"containerStatuses": [{"name": "c", "lastState": {"terminated": {"reason": "OOMKilled"}}}]},
    {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m"}]},
]
RAY_JOB_STATES: list[Object] = [
    {},
    {"jobDeploymentStatus": "ValidationFailed", "message": "words of a stranger"},
    {"jobDeploymentStatus": "Failed", "reason": "Sabotage"},
    {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"},
    {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": "2020-01-01T00:00:00Z"},
    {"jobDeploymentStatus": "Suspended"},
]
STATES = {"pods": POD_STATES, "rayjobs": RAY_JOB_STATES, "rayclusters": [{}], "configmaps": [{}]}


class Hidden:
    """The API without what strangers have made, so that KubeRay does not work for them here."""

    def __init__(self, world: World) -> None:
        self._api = world.api

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._api, verb)

    async def list(self, resource: Resource, namespace: str | None = None) -> list[Object]:
        return [
            copy.deepcopy(body)
            for (plural, place, _), body in self._api.objects.items()
            if plural == resource.plural and namespace in (None, place) and not is_strange(body)
        ]


class Crowded(World):
    """A world in which look-alikes stand beside every child of the job at every step."""

    def __init__(self, *disguises: Disguise) -> None:
        super().__init__()
        kube: Any = Hidden(self)
        self.kuberay.kube = kube
        self.disguises = disguises
        self.strangers: dict[Any, Object] = {}

    async def turn(self, seconds: float = 1.0) -> None:
        self.crowd()
        await super().turn(seconds)
        self.crowd()
        for key, body in self.strangers.items():
            assert self.api.objects.get(key) == body, f"{key} was touched"

    async def look(self) -> None:
        """As the parent does, without copying the crowd."""
        for resource, kind, project in VIEWS:
            mark = self.cache.mark()
            listed = [body for key, body in self.api.objects.items() if key[0] == resource.plural]
            self.cache.relist(kind, [project(body) for body in listed if is_watched(body)], mark)

    def crowd(self) -> None:
        """Put look-alikes beside what there is, without the API: uids and versions are those of a quiet world."""
        own = [(key, body) for key, body in self.api.objects.items() if not is_strange(body)]
        for (plural, _, _), body in own:
            if plural in KINDS and body["metadata"].get("ownerReferences"):
                for number, disguise in enumerate(self.disguises):
                    self._copy(plural, body, f"{STRANGER}{number}", disguise)

    def _copy(self, plural: str, original: Object, prefix: str, disguise: Disguise) -> None:
        for number, status in enumerate(STATES[plural]):
            name = original["metadata"]["name"]
            if disguise.renamed or number:
                name = f"{name}-{prefix}-{number}"
            key = (plural, disguise.place, name)
            if key in self.strangers:
                continue
            metadata = copy.deepcopy(original["metadata"])
            owners = disguise.owners(metadata["ownerReferences"][0])
            version = "1" if number % 2 else "999999999"
            metadata |= {"name": name, "namespace": disguise.place, "ownerReferences": owners}
            metadata |= {"uid": f"{prefix}-{number}-{plural}-{name}", "resourceVersion": version}
            if number % 3 == 1:
                metadata["deletionTimestamp"] = (
                    "2020-01-01T00:00:00Z" if number % 2 else "2040-01-01T00:00:00Z"
                )
            body = {**original, "metadata": metadata, "spec": {}, "status": status}
            self.api.objects[key] = self.strangers[key] = body


def is_strange(item: Object) -> bool:
    return str(item["metadata"]["uid"]).startswith(STRANGER)


def without(mapping: Object, key: str) -> Object:
    return {name: value for name, value in mapping.items() if name != key}


def failing(stage: str, times: int) -> Any:
    left = [times]

    def fail(assignment: Assignment) -> Report | None:
        if assignment.run.stage != stage or not left[0]:
            return None
        left[0] -= 1
        failure = Failure(failure_class="infrastructure", reason="Trouble", message="because")
        return Report(stage="teacher", recipe="", attempt=0, state="failed", failure=failure)

    return fail


def working(stage: str) -> Callable[[Status], bool]:
    return lambda status: any(part.name == stage and part.progress for part in status.stages)


async def to_the_end(world: World) -> None:
    await world.apply(ttlSecondsAfterFinished=60)
    await world.run(ended)
    for _ in range(5):
        await world.turn(30.0)


async def with_failures(world: World) -> None:
    world.kuberay.fail = failing("teacher", 2)
    await world.apply()
    await world.run(ended, turns=600)


async def suspended_and_resumed(world: World) -> None:
    world.kuberay.hold = lambda a: a.run.stage == "student" and a.attempt == 1
    await world.apply()
    await world.run(working("student"))
    await world.annotate(suspend_requested_at=EARLY)
    await world.run(lambda status: status.phase == "Suspended")
    for _ in range(5):
        await world.turn(60.0)
    await world.annotate(resume_requested_at=LATE)
    await world.run(ended)


async def cancelled_and_retried(world: World) -> None:
    world.kuberay.hold = lambda a: a.run.stage == "teacher" and a.attempt == 1
    await world.apply()
    await world.run(working("teacher"))
    for _ in range(3):
        await world.turn(60.0)
    await world.annotate(cancel_requested_at=EARLY)
    await world.run(ended)
    await world.annotate(retry_requested_at=LATE)
    await world.run(lambda status: status.phase == "Succeeded")


async def edited_and_broken(world: World) -> None:
    world.kuberay.hold = lambda a: a.run.stage == "teacher" and a.attempt == 1
    await world.apply()
    await world.run(working("teacher"))
    await world.apply(dataset={"sources": []})
    for _ in range(10):
        await world.turn()
    await world.apply(dataset=world.manifest["spec"]["dataset"])
    await world.run(ended)


async def its_children_deleted(world: World) -> None:
    world.kuberay.hold = lambda a: a.run.stage == "filter" and a.attempt == 1
    await world.apply()
    await world.run(working("filter"))
    for key in [k for k, body in world.api.objects.items() if k[0] == "rayjobs" and not is_strange(body)]:
        del world.api.objects[key]
    await world.run(ended)


async def deleted(world: World) -> None:
    world.kuberay.hold = lambda a: a.run.stage == "filter"
    await world.apply()
    await world.run(working("filter"))
    await world.remove(DISTILLATION_JOBS, NAME)
    for _ in range(5):
        await world.turn()


STORIES = [
    to_the_end,
    with_failures,
    suspended_and_resumed,
    cancelled_and_retried,
    edited_and_broken,
    its_children_deleted,
    deleted,
]


def told(world: World) -> Object:
    """Return all that an operator has written and said in a world."""
    records = {
        key: body.get("data")
        for key, body in world.api.objects.items()
        if key[0] == "configmaps" and not is_strange(body)
    }
    return {
        "writes": world.api.writes,
        "statuses": world.told.statuses,
        "complaints": world.told.complaints,
        "ended": world.told.ended,
        "maps": records,
        "live": world.kuberay.most_live,
    }


async def lived(world: World, story: Story) -> Object:
    await story(world)
    return told(world)


@cache
def quiet(story: Story) -> Object:
    """Return what is told in a world without strangers."""
    return asyncio.run(lived(World(), story))


@pytest.mark.parametrize("story", STORIES)
def test_a_crowd_of_look_alikes_changes_nothing_at_any_step(story: Story) -> None:
    assert asyncio.run(lived(Crowded(*DISGUISES.values()), story)) == quiet(story)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_disguise_alone_changes_anything(disguise: str) -> None:
    story = cancelled_and_retried
    assert asyncio.run(lived(Crowded(DISGUISES[disguise]), story)) == quiet(story)

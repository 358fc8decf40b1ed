"""A status that another release, or another hand, has written: what can be read of it holds."""

import asyncio
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller_world import NAME, NAMESPACE, World, ended
from distillery.kube.resources import DISTILLATION_JOBS

JOB = (DISTILLATION_JOBS.plural, NAMESPACE, NAME)
EARLY = "2026-11-03T12:30:00Z"


async def cancelled() -> World:
    """Return a world whose job was cancelled by an annotation that is gone."""
    world = World()
    world.kuberay.hold = lambda assignment: True
    await world.apply()
    await world.run(lambda status: any(stage.progress for stage in status.stages))
    await world.annotate(cancel_requested_at=EARLY)
    await world.run(ended)
    world.api.objects[JOB]["metadata"]["annotations"] = {}
    for _ in range(5):
        await world.turn(60.0)
    return world


def with_condition(status):
    condition = {**status["conditions"][0], "type": "Archived"}
    return {**status, "conditions": [condition, *status["conditions"]]}


ODD = {
    "a condition of a type of its own": with_condition,
    "conditions beyond number": lambda s: {**s, "conditions": [*s["conditions"], *[{"type": "Odd"}] * 40]},
    "a phase of a later release": lambda s: {**s, "phase": "Archived"},
    "a state of a later release": lambda s: {
        **s,
        "stages": [{**s["stages"][0], "state": "Parked"}, *s["stages"][1:]],
    },
    "a result of a later release": lambda s: {**s, "evaluation": {"verdict": "waived"}},
    "a profile without its digest": lambda s: {**s, "profile": {"name": "gold"}},
    "figures that are none": lambda s: {**s, "cost": {"spent": "much", "gpuHours": -1}, "progress": 5},
    "a request that is none": lambda s: {**s, "handled": {**s["handled"], "x" * 300: "y", "z": 5}},
    "all at once": lambda s: {
        **with_condition(s),
        "phase": "Archived",
        "cost": [],
        "profile": {},
        "release": 1,
    },
}


@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
def test_what_cannot_be_read_of_a_status_neither_begins_a_job_anew_nor_forgets_a_request(odd) -> None:
    async def run() -> None:
        world = await cancelled()
        stored = world.api.objects[JOB]
        stored["status"] = odd(copy.deepcopy(stored["status"]))
        before = copy.deepcopy(world.api.objects)
        for _ in range(3):
            world.start_operator()
            await world.turn(100.0)
        assert [key for key in world.api.objects if key not in before] == []
        assert world.api.objects[JOB]["status"]["handled"]["cancel-requested-at"] == EARLY
        await world.apply(activeDeadlineSeconds=3600)
        await world.run(ended)
        status = await world.status()
        assert (status.phase, status.handled["cancel-requested-at"]) == ("Stopped", EARLY)

    asyncio.run(run())


def test_an_end_that_somebody_has_written_hides_no_attempt_that_is_at_work() -> None:
    """Else nothing would watch it, and neither a request nor a deadline would stop it."""

    async def run() -> None:
        world = World()
        world.kuberay.hold = lambda assignment: True
        await world.apply(activeDeadlineSeconds=3600)
        await world.run(lambda status: any(stage.progress for stage in status.stages))
        status = world.api.objects[JOB]["status"]
        status["conditions"] = [
            {**c, "status": "False" if c["type"] == "Reconciling" else c["status"]}
            for c in status["conditions"]
        ]
        world.start_operator()
        await world.turn(30.0)
        assert {c.type: c.status for c in (await world.status()).conditions}["Reconciling"] == "True"
        for _ in range(150):
            await world.turn(30.0)
        assert (await world.status()).phase == "Failed"
        assert [key for key in world.api.objects if key[0] == "pods"] == []

    asyncio.run(run())


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["conditions", "phase", "progress", "stages", "cost", "evaluation", "release", "profile"]


@given(odd=st.dictionaries(st.sampled_from(FIELDS), ANY))
@settings(max_examples=40, deadline=None)
def test_whatever_else_a_status_says_a_request_that_it_has_latched_holds(odd) -> None:
    async def run() -> None:
        world = World()
        await world.apply()
        latched = {"cancel-requested-at": EARLY}
        world.api.objects[JOB]["status"] = {**odd, "handled": latched}
        for _ in range(3):
            await world.turn(100.0)
        stored = world.api.objects[JOB]["status"]
        assert stored["handled"] == latched
        assert [key for key in world.api.objects if key[0] == "rayjobs"] == []

    asyncio.run(run())

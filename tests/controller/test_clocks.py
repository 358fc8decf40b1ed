"""The clock of the operator's node is set back, as by NTP, or after a change of the leader: nothing waits for it."""

import asyncio
from typing import Any

from controller_world import World
from distillery.api.v1alpha1.status import JobProgress, Status
from distillery.controller.events import BURST, Events
from distillery.controller.publish import Publisher
from distillery.planning.profile import Profile
from distillery.stages.assignment import Assignment

HOUR = 3600.0
HEARTBEAT = Profile(image="").heartbeat_deadline_seconds


def test_a_worker_that_is_lost_is_missed_though_the_operators_clock_was_set_back() -> None:
    async def run() -> None:
        world = World()
        world.ahead = 600.0
        world.kuberay.hold = lambda assignment: assignment.run.stage == "teacher"
        await world.apply()
        await world.run(lambda s: any(part.name == "teacher" and part.progress for part in s.stages))

        async def silent(assignment: Assignment, **fields: Any) -> None:
            return

        world.kuberay._report = silent  # type: ignore[method-assign]
        world.ahead = 0.0
        for _ in range(int(HEARTBEAT / 30.0) + 3):
            await world.turn(30.0)
        [record] = [
            body["data"]
            for (plural, _, name), body in world.api.objects.items()
            if plural == "configmaps" and name.endswith("-record")
        ]
        assert "HeartbeatLost" in record["teacher.1"]

    asyncio.run(run())


def test_progress_is_shown_though_the_clock_was_set_back() -> None:
    written = []

    class Server:
        async def replace_status(self, _resource, body):
            written.append(body["status"]["progress"]["percent"])

    async def run() -> None:
        kube: Any = Server()
        publisher = Publisher(kube)
        metadata = {"name": "n", "namespace": "a", "uid": "u", "resourceVersion": "1"}
        statuses = [Status(progress=JobProgress(percent=percent)) for percent in (1.0, 2.0, 3.0)]
        document = {"metadata": metadata, "status": {}}
        assert await publisher.status(document, statuses[0], statuses[1], 10 * HOUR) is None
        assert await publisher.status(document, statuses[1], statuses[2], 9 * HOUR) is None

    asyncio.run(run())
    assert written == [2.0, 3.0]


def test_a_clock_that_is_set_back_holds_no_event_back() -> None:
    posted = []

    class Server:
        async def create(self, _resource, body):
            posted.append(body["message"])

    async def run() -> None:
        now = [10 * HOUR]
        events = Events(Server(), "pod-1", lambda: now[0])
        job = {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "namespace": "a", "uid": "u"}}
        await events.post(job, "Normal", "A", "before")
        now[0] -= HOUR
        for number in range(BURST - 1):
            await events.post(job, "Normal", "A", str(number))

    asyncio.run(run())
    assert len(posted) == BURST

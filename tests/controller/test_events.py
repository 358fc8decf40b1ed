import asyncio

from distillery.controller.events import BURST, MAX_MESSAGE, Events
from distillery.kube.errors import Exists, Forbidden

JOB = {
    "apiVersion": "distillery.dev/v1alpha1",
    "kind": "DistillationJob",
    "metadata": {"name": "tickets", "namespace": "team-a", "uid": "u-1"},
}


class Server:
    """Keeps Events by name; what is merged is merged."""

    def __init__(self, refuse=False):
        self.events = {}
        self.refuse = refuse

    async def create(self, _resource, body):
        if self.refuse:
            raise Forbidden("create events", "the namespace terminates")
        name = body["metadata"]["name"]
        if name in self.events:
            raise Exists(name)
        self.events[name] = dict(body)
        return body

    async def merge(self, _resource, name, patch, _namespace):
        self.events[name].update(patch)
        return self.events[name]


def post(server, *news, clock=lambda: 1_763_817_000.0, events=None):
    events = events or Events(server, "pod-1", clock)

    async def main():
        for kind, reason, message in news:
            await events.post(JOB, kind, reason, message)

    asyncio.run(main())
    return list(server.events.values())


def test_an_event_names_the_job_and_says_what_happened():
    (event,) = post(Server(), ("Warning", "StageFailed", "teacher attempt 2 failed"))
    assert event["involvedObject"] == {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "DistillationJob",
        "name": "tickets",
        "namespace": "team-a",
        "uid": "u-1",
    }
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Warning",
        "StageFailed",
        "teacher attempt 2 failed",
        1,
    )
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2025-11-22T13:10:00Z"


def test_the_same_news_again_raises_the_count_also_from_another_process():
    server = Server()
    post(server, ("Normal", "StageStarted", "x"), ("Normal", "StageStarted", "x"))
    (event,) = post(server, ("Normal", "StageStarted", "x"), clock=lambda: 1_763_817_060.0)
    assert event["count"] == 3
    assert (event["firstTimestamp"], event["lastTimestamp"]) == (
        "2025-11-22T13:10:00Z",
        "2025-11-22T13:11:00Z",
    )


def test_messages_are_bounded_in_bytes_and_whole_characters():
    (event,) = post(Server(), ("Normal", "R" * 500, "ü" * 2000))
    assert len(event["message"].encode()) <= MAX_MESSAGE
    assert event["message"].endswith("ü …")
    assert len(event["reason"]) == 128


def test_a_flood_is_cut_off_and_recovers():
    now = [0.0]
    server = Server()
    events = Events(server, "pod-1", lambda: now[0])
    post(server, *(("Normal", "R", str(number)) for number in range(100)), events=events)
    assert len(server.events) == BURST
    now[0] = 3600.0
    post(server, ("Normal", "R", "later"), events=events)
    assert len(server.events) == BURST + 1


def test_a_server_that_refuses_never_fails_the_caller(caplog):
    assert post(Server(refuse=True), ("Normal", "R", "x")) == []
    assert "could not be posted" in caplog.text

"""Events and the Lease on a real API server, which validates both."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from distillery.controller.election import Election
from distillery.controller.events import Events
from distillery.kube.client import Kube
from distillery.kube.resources import DISTILLATION_JOBS, EVENTS, LEASES
from kube.apiserver import ApiServer, until
from tiny_job import manifest

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]


def test_an_event_is_accepted_and_counted_when_it_comes_again(apiserver: ApiServer, namespace: str) -> None:
    async def scene(kube: Kube) -> None:
        body = manifest("http://127.0.0.1:1/v1", Path("/tickets.jsonl"))
        body["metadata"] = {"name": "tiny", "namespace": namespace}
        body["spec"]["storage"] = {"uri": "s3://bucket/prefix"}
        job = await kube.create(DISTILLATION_JOBS, body)
        for instance in ("pod-1", "pod-1", "pod-2"):
            events = Events(kube, instance, lambda: 1_763_817_000.0)
            await events.post(job, "Warning", "StageFailed", "teacher attempt 1 failed: ü" + "x" * 5000)
        (event,) = await kube.list(EVENTS, namespace, fields=f"involvedObject.uid={job['metadata']['uid']}")
        assert (event["count"], event["type"], event["reason"]) == (3, "Warning", "StageFailed")

    apiserver.act(scene)


def test_of_two_candidates_one_leads_and_the_other_follows_when_it_gives_up(
    apiserver: ApiServer, namespace: str
) -> None:
    async def scene(kube: Kube) -> None:
        first, second = (Election(kube, namespace, "distillery", name) for name in ("first", "second"))
        await first.acquire()
        following = asyncio.create_task(second.acquire())
        holding = asyncio.create_task(first.hold())
        await asyncio.sleep(3)
        assert not following.done()
        holding.cancel()
        with suppress(asyncio.CancelledError):
            await holding
        await first.release()
        await until(following.done, "the second")
        spec = (await kube.get(LEASES, "distillery", namespace))["spec"]
        assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)

    apiserver.act(scene)

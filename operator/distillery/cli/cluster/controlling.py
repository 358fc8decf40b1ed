"""The verbs that steer a job: each sets one annotation, which the operator latches in `status.handled`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from distillery.api.v1alpha1.status import Status
from distillery.cli.cluster.access import Access
from distillery.cli.cluster.ending import status_in
from distillery.cli.cluster.standing import Standing, Verb, check_request, idle_note, standing_of
from distillery.errors import DistilleryError
from distillery.kube.client import Object
from distillery.kube.resources import DISTILLATION_JOBS
from distillery.planning.control import APPROVE, CANCEL, RERUN, RESUME, RETRY, SUSPEND, annotation, parse_time

REQUESTS: dict[Verb, str] = {"suspend": SUSPEND, "resume": RESUME, "cancel": CANCEL, "retry": RETRY}
QUIET_SECONDS = 10.0
QUIET = (
    "note: the operator has not answered yet; does it run? "
    "(kubectl get pods -A -l app.kubernetes.io/name=distillery)"
)


async def ask(access: Access, name: str, verb: Verb, *, wait: bool) -> None:
    """Ask for suspend, resume, cancel or retry. Raises: SpecError if that would only strike later."""
    job = await access.job(name)
    standing = standing_of(job)
    check_request(verb, standing, access.flags)
    if verb == "resume" and (job.get("spec") or {}).get("suspend"):
        message = f"spec.suspend of {name} is true, and wins over every request"
        raise DistilleryError(f"{message} → set it to false in the manifest and submit it")
    if note := idle_note(verb, standing):
        print(f"note: {note}", file=sys.stderr, flush=True)
    await _annotate(access, job, REQUESTS[verb], REQUESTS[verb], _moment(standing), wait=wait)


async def rerun_stage(access: Access, name: str, stage: str, *, wait: bool) -> None:
    """Ask for another run of one stage, even though nothing has changed."""
    job = await access.job(name)
    await _annotate(access, job, RERUN, f"{RERUN}/{stage}", f"{_moment(standing_of(job))}/{stage}", wait=wait)


async def approve_review(access: Access, name: str, *, wait: bool) -> None:
    """Approve the filter's review sample of the artifact that waits for it."""
    job = await access.job(name)
    status = status_in(job)
    waiting = next((stage for stage in status.stages if stage.name == "filter"), None)
    if status.phase != "AwaitingReview" or waiting is None or waiting.identity is None:
        raise DistilleryError(f"{name} does not wait for a review: it is {status.phase}")
    await _annotate(access, job, APPROVE, APPROVE, waiting.identity, wait=wait)


async def _annotate(
    access: Access, job: Object, request: str, handled: str, value: str, *, wait: bool
) -> None:
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    patch = {"metadata": {"uid": uid, "annotations": {annotation(request): value}}}
    await access.kube.merge(DISTILLATION_JOBS, name, patch, access.namespace)
    print(f"{name}: {annotation(request)}: {value}", flush=True)
    if wait:
        loop = asyncio.get_running_loop()
        reminder = loop.call_later(QUIET_SECONDS, lambda: print(QUIET, file=sys.stderr, flush=True))
        try:
            status = await _handled(access, name, uid, handled, value)
        finally:
            reminder.cancel()
        print(f"{name}: {status.phase}: {status.progress.message}".rstrip(": "))


async def _handled(access: Access, name: str, uid: str, key: str, value: str) -> Status:
    """Return the first status that has latched this request or a later one."""
    async with aclosing(access.kube.watch(DISTILLATION_JOBS, access.namespace, name=name)) as events:
        async for kind, item in events:
            if kind == "DELETED" or item["metadata"]["uid"] != uid:
                raise DistilleryError(f"{name} was deleted in the meantime")
            status = status_in(item)
            latched = status.handled.get(key)
            if latched == value or (latched is not None and _time(latched) > _time(value)):
                return status
    raise AssertionError("a watch never ends by itself")


def _moment(standing: Standing) -> str:
    """Return the present time, or one just after every earlier request that counts: clocks differ."""
    before = standing.control.handled.values()
    moment = max(datetime.now(UTC), _latest(before) + timedelta(milliseconds=1))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _latest(values: Iterable[str]) -> datetime:
    return datetime.fromtimestamp(max(map(_time, values), default=0.0), UTC)


def _time(value: str) -> float:
    return parse_time(value.partition("/")[0]) or 0.0

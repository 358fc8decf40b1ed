"""Kubernetes Events about a DistillationJob: what `kubectl describe` shows. Few, told once, never in the way."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from distillery.errors import DistilleryError
from distillery.kube.client import Kube
from distillery.kube.errors import Exists
from distillery.kube.resources import EVENTS

log = logging.getLogger(__name__)

COMPONENT = "distillery"
MAX_MESSAGE = 1024
MAX_REASON = 128
BURST = 25
REFILL_SECONDS = 30.0
"""A job may have this many Events at once, and one more every so many seconds; more are left out."""
REMEMBERED_JOBS = 2000


@dataclass(slots=True)
class _Budget:
    left: float
    at: float


class Events:
    """Posts Events. The caller says when something has happened; nothing is repeated on its own.

    The name of an Event follows from the job and the text, so that the same news again, also from another process,
    raises the count of one Event.
    """

    def __init__(self, kube: Kube, instance: str, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._instance = instance
        self._clock = clock
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()

    async def post(
        self, job: dict[str, Any], kind: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        """Post an Event about a DistillationJob document. A failure is logged and otherwise ignored."""
        now = self._clock()
        log.info("%s: %s", reason, message)
        if not self._allow(job["metadata"]["uid"], now):
            log.debug("the Event is left out: too many at once")
            return
        body = self._body(job, kind, reason[:MAX_REASON], _bounded(message), now)
        try:
            await self._post(body)
        except DistilleryError as error:
            log.warning("an Event could not be posted: %s", error)
        except Exception:  # the border of telling: what cannot be told must not hold a job up
            log.exception("an Event could not be posted")

    async def _post(self, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        try:
            await self._kube.create(EVENTS, body)
        except Exists:
            seen = {"lastTimestamp": body["lastTimestamp"]}
            found = await self._kube.merge(EVENTS, metadata["name"], seen, metadata["namespace"])
            count = {"count": int(found.get("count") or 1) + 1}
            await self._kube.merge(EVENTS, metadata["name"], count, metadata["namespace"])

    def _allow(self, uid: str, now: float) -> bool:
        budget = self._budgets.pop(uid, None) or _Budget(BURST, now)
        budget.left = min(BURST, budget.left + max(0.0, now - budget.at) / REFILL_SECONDS)
        budget.at = now
        allowed = budget.left >= 1
        budget.left -= 1 if allowed else 0
        self._budgets[uid] = budget
        if len(self._budgets) > REMEMBERED_JOBS:
            self._budgets.popitem(last=False)
        return allowed

    def _body(self, job: dict[str, Any], kind: str, reason: str, message: str, now: float) -> dict[str, Any]:
        metadata = job["metadata"]
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": _event_name(metadata["name"], metadata["uid"], kind, reason, message),
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": job["apiVersion"],
                "kind": job["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance[:128],
        }


def _event_name(job: str, *parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return f"{job[:200].rstrip('-.')}.{digest}"


def _bounded(message: str) -> str:
    """Return at most MAX_MESSAGE bytes: the server counts those."""
    data = message.encode()
    if len(data) <= MAX_MESSAGE:
        return message
    return data[: MAX_MESSAGE - 4].decode(errors="ignore") + " …"

"""Leader election by a coordination.k8s.io Lease, on plain objects. As client-go does it, clocks are never compared.

Whether another holder is gone is judged by how long its Lease has not changed on our own clock. A leader stops well
before a follower may take over; and two leaders for a moment do no harm, since every write has a precondition.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from distillery.errors import DistilleryError
from distillery.kube.client import Kube
from distillery.kube.errors import Exists
from distillery.kube.resources import LEASES

log = logging.getLogger(__name__)

LEASE_SECONDS = 15
"""A Lease that has not changed for so long may be taken."""
DEADLINE_SECONDS = 10.0
"""A leader that could not renew for so long stops."""
RENEW_SECONDS = 5.0
RETRY_SECONDS = 2.0


class LeaseLost(DistilleryError):
    """Another process holds the Lease, or it could not be renewed in time."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Clocks and pauses, in seconds: those of the process, or simulated ones."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Election:
    """One candidate for one Lease. `identity` must differ between processes, also of one pod."""

    def __init__(
        self, kube: Kube, namespace: str, name: str, identity: str, timing: Timing | None = None
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._timing = timing or Timing()
        self._seen = ""
        self._seen_at = self._timing.monotonic()
        self._renewed_at = float("-inf")

    def age(self) -> float:
        """Return for how many seconds the Lease has not been renewed."""
        return self._timing.monotonic() - self._renewed_at

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        told = ""
        while True:
            try:
                holder = await self._try()
            except DistilleryError as error:
                holder = f"nobody knows ({error})"
            if holder is None:
                log.info("leading as %s", self._identity)
                return
            if holder != told:
                log.info("standing by; the leader is %s", holder)
                told = holder
            await self._timing.sleep(RETRY_SECONDS * random.uniform(1.0, 1.2))

    async def hold(self) -> None:
        """Renew the Lease for ever. Raises: LeaseLost."""
        while True:
            await self._timing.sleep(RENEW_SECONDS)
            await self._renew()

    async def release(self) -> None:
        """Give the Lease up so that the next candidate need not wait. A failure is ignored: it would run out anyway."""
        if self._renewed_at == float("-inf"):
            return
        try:
            lease = await self._kube.get(LEASES, self._name, self._namespace)
            if lease["spec"].get("holderIdentity") == self._identity:
                await self._kube.replace(LEASES, {**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        except DistilleryError as error:
            log.warning("the Lease could not be released: %s", error)

    async def _renew(self) -> None:
        deadline = self._renewed_at + DEADLINE_SECONDS
        while True:
            left = deadline - self._timing.monotonic()
            try:
                async with asyncio.timeout(max(0.1, left)):
                    holder = await self._try()
            except (DistilleryError, TimeoutError) as error:
                log.warning("the Lease could not be renewed: %s", str(error) or "no answer in time")
                if self._timing.monotonic() + RETRY_SECONDS / 2 >= deadline:
                    raise LeaseLost("the Lease could not be renewed in time") from error
                await self._timing.sleep(RETRY_SECONDS / 2)
                continue
            if holder is not None:
                raise LeaseLost(f"the Lease was taken by {holder}")
            return

    async def _try(self) -> str | None:
        """Take or renew the Lease if that is allowed. Returns: None if it is ours, else who holds it."""
        lease = await self._kube.find(LEASES, self._name, self._namespace)
        now = self._timing.monotonic()
        if lease is None:
            try:
                await self._kube.create(LEASES, self._lease({}, None))
            except Exists:
                return "someone who was faster"
            self._renewed_at = now
            return None
        holder = lease["spec"].get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen:
            self._seen, self._seen_at = version, now
        limit = float(lease["spec"].get("leaseDurationSeconds") or LEASE_SECONDS)
        if holder not in ("", self._identity) and now - self._seen_at < limit:
            return str(holder)
        await self._kube.replace(LEASES, self._lease(lease["spec"], lease["metadata"]))
        self._renewed_at = now
        return None

    def _lease(self, spec: dict[str, Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
        stamp = datetime.fromtimestamp(self._timing.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = spec.get("holderIdentity") == self._identity
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": metadata or {"name": self._name, "namespace": self._namespace},
            "spec": {
                **spec,
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": stamp,
                "acquireTime": spec.get("acquireTime", stamp) if ours else stamp,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if ours or not spec else 1),
            },
        }

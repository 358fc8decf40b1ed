"""A Lease in memory with the API server's rules, and a clock that moves when somebody sleeps."""

import asyncio
import copy
import heapq
import itertools

from distillery.controller.election import Timing
from distillery.kube.errors import Exists, Stale, Unavailable


class Leases:
    """Stands for the API server. While it is `away` every call fails."""

    def __init__(self) -> None:
        self.lease = None
        self.away = False
        self.version = 0

    def _check(self) -> None:
        if self.away:
            raise Unavailable("lease", "connection refused")

    async def find(self, _resource, _name, _namespace):
        self._check()
        return copy.deepcopy(self.lease)

    get = find

    async def create(self, _resource, body):
        self._check()
        if self.lease is not None:
            raise Exists("lease")
        return self._keep(body)

    async def replace(self, _resource, body):
        self._check()
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise Stale("lease")
        return self._keep(body)

    def _keep(self, body):
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)


class Clock:
    """Simulated time: it goes on to the next sleeper when all are asleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers = []
        self._order = itertools.count()

    def timing(self, skew: float = 0.0) -> Timing:
        """Return this clock as one process sees it; only the wall clock may be wrong."""
        return Timing(lambda: self.now, lambda: 1.7e9 + self.now + skew, self.sleep)

    async def sleep(self, seconds: float) -> None:
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), waiter))
        await waiter

    async def run(self, until: float) -> None:
        """Let time pass."""
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            if not self._sleepers or self._sleepers[0][0] > until:
                self.now = until
                return
            when, _, waiter = heapq.heappop(self._sleepers)
            self.now = max(self.now, when)
            if not waiter.done():
                waiter.set_result(None)

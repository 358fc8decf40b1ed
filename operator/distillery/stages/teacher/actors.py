"""The pool's actors on the cluster: the limiter beside the driver, workers on the worker pods."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distillery.errors import StageFailed, StageStopped
from distillery.querying import BudgetAccount
from distillery.stages import cluster
from distillery.stages.teacher.lease import LAPSE, LeaseGrant, LeaseRequest
from distillery.stages.teacher.limiter import Limiter
from distillery.stages.teacher.query_worker import QueryWorker

GATHER_SECONDS = 60.0
"""So long is waited for all pods; then those that are there have to do."""
NONE_SECONDS = 300.0
"""So long is waited for the first one."""
SECOND_CHOICE_SECONDS = 5.0
"""So long is waited for a node on which nothing has died lately."""
PAUSE = 0.5
CORDON_SECONDS = 60.0
"""Ray may take a pod that has just died for alive as long as this."""
GONE_SECONDS = 10.0
"""So long is waited, after its last grant has lapsed, for Ray's word that a worker has ended."""


class LimiterActor:
    """The limiter with the clock of its node."""

    def __init__(self, requests_per_minute: int | None, limit: int | None, spent: int) -> None:
        self._limiter = Limiter(requests_per_minute, limit)
        self._limiter.budget.spent = spent

    def begin(self, concurrency: int, set_aside: int, shares: Mapping[str, int]) -> None:
        """Prepare for a round."""
        self._limiter.begin(concurrency, set_aside, shares)

    def exchange(self, request: LeaseRequest) -> LeaseGrant:
        """Take a worker's news and return what it may do."""
        return self._limiter.exchange(request, time.monotonic())

    def register(self, name: str, requests: int) -> None:
        """Expect a new worker."""
        self._limiter.register(name, requests)

    def revoke(self, name: str) -> None:
        """Grant a worker nothing more."""
        self._limiter.revoke(name)

    def remove(self, name: str, paid: int) -> None:
        """Drop a lost worker."""
        self._limiter.remove(name, paid)

    def money(self) -> BudgetAccount:
        """Return the object's money."""
        return replace(self._limiter.budget)


class ActorSet:
    """Starts actors where they belong. Raises RayError where the cluster does not play along."""

    def __init__(self, requests_per_minute: int | None, limit: int | None, spent: int) -> None:
        """Start the limiter on the driver's node: it lives and dies with the driver."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=0)(LimiterActor)
        self.limiter: Any = actor.options(scheduling_strategy=here).remote(requests_per_minute, limit, spent)
        self._cordoned: dict[str, float] = {}
        self._spawned: dict[str, int] = {}

    def spawn(self, node: str) -> Any:
        """Start a worker on a node and return its handle."""
        self._spawned[node] = self._spawned.get(node, 0) + 1
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return ray.remote(num_cpus=0, max_restarts=0)(QueryWorker).options(scheduling_strategy=there).remote()

    def cordon(self, node: str) -> None:
        """Keep away from a node for a while: a worker has just died there."""
        self._cordoned[node] = time.monotonic() + CORDON_SECONDS
        self._spawned[node] -= 1

    def fence(self, name: str, actor: Any) -> None:
        """End a worker, whether it is dead or only out of sight; it starts no call after this returns."""
        ray.get(self.limiter.revoke.remote(name))
        ray.kill(actor)
        time.sleep(LAPSE)  # Ray may count it as dead before its pod has heard of it, or can hear of it
        until = time.monotonic() + GONE_SECONDS
        while not _died(actor) and time.monotonic() < until:
            time.sleep(PAUSE)

    def await_nodes(self, wanted: int, stop_requested: Callable[[], bool]) -> int:
        """Wait until so many worker nodes are there; returns how many came within a minute."""
        return len(cluster.await_nodes(wanted, GATHER_SECONDS, stop_requested))

    def node(self, stop_requested: Callable[[], bool]) -> str:
        """Return the worker node with the fewest workers.

        Raises: StageFailed(WorkersLost) if there is none for long, StageStopped.
        """
        began = time.monotonic()
        while not stop_requested():
            now = time.monotonic()
            found: list[str] = [node["NodeID"] for node in cluster.worker_nodes()]
            good = [node for node in found if self._cordoned.get(node, 0.0) < now]
            if good or (found and now - began > SECOND_CHOICE_SECONDS):
                return min(good or found, key=lambda node: (self._spawned.get(node, 0), node))
            if now - began > NONE_SECONDS:
                message = "no worker pod is there to ask the teacher: see the events of the pods"
                raise StageFailed("WorkersLost", message, "infrastructure")
            time.sleep(PAUSE)
        raise StageStopped("stop requested")

    def terminate(self, workers: list[Any]) -> None:
        """End all actors."""
        for actor in (*workers, self.limiter):
            ray.kill(actor)


def _died(actor: Any) -> bool:
    """Return whether Ray says that an actor has ended, and not only that it is out of reach."""
    try:
        ray.get(actor.__ray_ready__.remote(), timeout=PAUSE)
    except ActorDiedError:
        return True
    except RayError:
        return False
    return False

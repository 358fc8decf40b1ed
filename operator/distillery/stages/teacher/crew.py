"""The fleet's actors on the cluster: the limiter beside the driver, members on the worker pods."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distillery.errors import StageFailed, StageStopped
from distillery.querying.budget import BudgetAccount
from distillery.stages import cluster
from distillery.stages.teacher.asker import Asker
from distillery.stages.teacher.leasing import LAPSE, Grant, Request
from distillery.stages.teacher.limiter import Limiter

GATHER_SECONDS = 60.0
"""So long is waited for all pods; then those that are there have to do."""
NONE_SECONDS = 300.0
"""So long is waited for the first one."""
SECOND_CHOICE_SECONDS = 5.0
"""So long is waited for a node on which nothing has died lately."""
PAUSE = 0.5
AVOID_SECONDS = 60.0
"""Ray may take a pod that has just died for alive as long as this."""
GONE_SECONDS = 10.0
"""So long is waited, after its last grant has lapsed, for Ray's word that a member has ended."""


class LimiterActor:
    """The limiter with the clock of its node."""

    def __init__(self, requests_per_minute: int | None, limit: int | None, spent: int) -> None:
        self._limiter = Limiter(requests_per_minute, limit)
        self._limiter.budget.spent = spent

    def begin(self, concurrency: int, set_aside: int, shares: Mapping[str, int]) -> None:
        """Prepare for a round."""
        self._limiter.begin(concurrency, set_aside, shares)

    def exchange(self, request: Request) -> Grant:
        """Take a member's news and return what it may do."""
        return self._limiter.exchange(request, time.monotonic())

    def enrol(self, name: str, requests: int) -> None:
        """Expect a new member."""
        self._limiter.enrol(name, requests)

    def dismiss(self, name: str) -> None:
        """Grant a member nothing more."""
        self._limiter.dismiss(name)

    def forget(self, name: str, paid: int) -> None:
        """Drop a lost member."""
        self._limiter.forget(name, paid)

    def money(self) -> BudgetAccount:
        """Return the object's money."""
        return replace(self._limiter.budget)


class Crew:
    """Starts actors where they belong. Raises RayError where the cluster does not play along."""

    def __init__(self, requests_per_minute: int | None, limit: int | None, spent: int) -> None:
        """Start the limiter on the driver's node: it lives and dies with the driver."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=0)(LimiterActor)
        self.limiter: Any = actor.options(scheduling_strategy=here).remote(requests_per_minute, limit, spent)
        self._avoided: dict[str, float] = {}
        self._hired: dict[str, int] = {}

    def hire(self, node: str) -> Any:
        """Start a member on a node and return its handle."""
        self._hired[node] = self._hired.get(node, 0) + 1
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return ray.remote(num_cpus=0, max_restarts=0)(Asker).options(scheduling_strategy=there).remote()

    def avoid(self, node: str) -> None:
        """Keep away from a node for a while: a member has just died there."""
        self._avoided[node] = time.monotonic() + AVOID_SECONDS
        self._hired[node] -= 1

    def end(self, name: str, actor: Any) -> None:
        """End a member, whether it is dead or only out of sight; it starts no call after this returns."""
        ray.get(self.limiter.dismiss.remote(name))
        ray.kill(actor)
        time.sleep(LAPSE)  # Ray may count it as dead before its pod has heard of it, or can hear of it
        until = time.monotonic() + GONE_SECONDS
        while not _died(actor) and time.monotonic() < until:
            time.sleep(PAUSE)

    def await_nodes(self, wanted: int, stop_requested: Callable[[], bool]) -> int:
        """Wait until so many worker nodes are there; returns how many came within a minute."""
        return len(cluster.await_nodes(wanted, GATHER_SECONDS, stop_requested))

    def node(self, stop_requested: Callable[[], bool]) -> str:
        """Return the worker node with the fewest members.

        Raises: StageFailed(WorkersLost) if there is none for long, StageStopped.
        """
        began = time.monotonic()
        while not stop_requested():
            now = time.monotonic()
            found: list[str] = [node["NodeID"] for node in cluster.worker_nodes()]
            good = [node for node in found if self._avoided.get(node, 0.0) < now]
            if good or (found and now - began > SECOND_CHOICE_SECONDS):
                return min(good or found, key=lambda node: (self._hired.get(node, 0), node))
            if now - began > NONE_SECONDS:
                message = "no worker pod is there to ask the teacher: see the events of the pods"
                raise StageFailed("WorkersLost", message, "infrastructure")
            time.sleep(PAUSE)
        raise StageStopped("stop requested")

    def dismiss(self, members: list[Any]) -> None:
        """End all actors."""
        for actor in (*members, self.limiter):
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

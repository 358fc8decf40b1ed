"""Connects a stage that needs Ray: to the cluster of its pods, or to a small one of its own on this machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import ray

from distillery.settings import Settings

OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Only handles and small messages pass through Ray here; its default would take a third of the memory."""
PAUSE = 0.5
"""Seconds between two looks at the cluster."""


def connect(workers: int) -> None:
    """Connect this process to Ray, unless it is already.

    In a pod the cluster is there and the environment names its address. Elsewhere a new one is started on this
    machine: it has no dashboard, forwards no worker logs and sends no usage data (releases of Ray do not with
    `ray.init`). Its processes die with the calling process and must not outlive the calling thread.
    """
    if ray.is_initialized():
        return
    if workers or Settings.read().variable("RAY_ADDRESS"):
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
        return
    ray.init(
        address="local",
        num_cpus=1,
        num_gpus=0,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
    )


def worker_nodes() -> list[dict[str, Any]]:
    """Return, as Ray describes them, the nodes that may work: those with CPUs, and the head only if it is alone."""
    alive = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    return [node for node in alive if "node:__internal_head__" not in node["Resources"]] or alive


def await_nodes(wanted: int, seconds: float, stop_requested: Callable[[], bool]) -> list[dict[str, Any]]:
    """Wait until so many worker nodes are there; return those that have come within so many seconds."""
    until = time.monotonic() + seconds
    while len(found := worker_nodes()) < wanted and time.monotonic() < until and not stop_requested():
        time.sleep(PAUSE)
    return found

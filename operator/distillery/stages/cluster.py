"""Connects a stage that needs Ray: to the cluster of its pods, or to a small one of its own on this machine."""

from __future__ import annotations

import logging

import ray

from distillery.settings import Settings

OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Only handles and small messages pass through Ray here; its default would take a third of the memory."""


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

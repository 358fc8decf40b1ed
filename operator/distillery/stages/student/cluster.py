"""Starts Ray for a stage that needs it, unless this process is connected to one already."""

from __future__ import annotations

import logging

import ray

OBJECT_STORE_BYTES = 100 * 1024 * 1024
"""Only handles and small messages pass through Ray here; its default would take a third of the memory."""


def ensure_ray() -> None:
    """Connect this process to Ray: to the cluster it already knows, else to a new one on this machine.

    The new one has no dashboard, forwards no worker logs and sends no usage data (releases of Ray do not with
    `ray.init`). Its processes die with the calling process and must not outlive the calling thread.
    """
    if ray.is_initialized():
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

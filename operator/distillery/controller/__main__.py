"""`python -m distillery.controller`: the operator's process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

from distillery.controller.logs import configure_logging
from distillery.controller.shell import Parts, Reconciles, Shell, Where
from distillery.kube.errors import NoCluster
from distillery.settings import Settings
from distillery.streams import flush_output, open_streams

log = logging.getLogger(__name__)

HOST = "0.0.0.0"
USAGE_ERROR = 2


def main() -> int:
    """Run until a signal. Returns: 0 after a signal, 1 after a loss, 2 if the settings or the cluster are missing."""
    settings = Settings.read()
    try:
        configure_logging(settings.log_level)
        where = Where(
            pod_name=settings.pod_name,
            namespace=settings.namespace,
            namespaces=settings.watch_namespaces,
            host=HOST,
            port=settings.port,
        )
    except ValueError as error:
        print(f"distillery.controller: {error}", file=sys.stderr)
        return USAGE_ERROR
    try:
        return asyncio.run(_run(where, settings))
    except NoCluster as error:
        log.error("%s", error)
        return USAGE_ERROR


async def _run(where: Where, settings: Settings) -> int:
    return await Shell(where, lambda parts: _reconciler(parts, settings), time.time).run()


def _reconciler(parts: Parts, settings: Settings) -> Reconciles:
    from distillery.controller.reconcile import Reconciler
    from distillery.controller.telling import Telling
    from distillery.planning.profile import BuiltinProfile

    builtin = BuiltinProfile(image=settings.worker_image, ray_version=settings.ray_version)
    return Reconciler(parts.kube, parts.cache, Telling(parts.events, parts.metrics), builtin, time.time)


if __name__ == "__main__":
    open_streams()
    status = main()
    logging.shutdown()
    flush_output()
    # A task that hangs must not keep a process that has lost its Lease.
    os._exit(status)

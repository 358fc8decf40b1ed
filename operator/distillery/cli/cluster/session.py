"""One verb's conversation with the API server: connect, do it, disconnect. Light: the client is imported on use."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from distillery.cli.cluster.options import Cluster
from distillery.errors import DistilleryError
from distillery.settings import Settings

if TYPE_CHECKING:
    from distillery.cli.cluster.access import Access

T = TypeVar("T")
INSTALL = "install it from a checkout: pip install '.[cluster]'"


class NotReached(DistilleryError):
    """There is no such job, or no cluster to ask: nothing has happened yet."""


def on_cluster(cluster: Cluster, work: Callable[[Access], Awaitable[T]], interrupted: str = "") -> T:
    """Do something on the cluster and return its result.

    Ctrl-C and SIGTERM cancel it, print `interrupted` and raise KeyboardInterrupt. Raises: DistilleryError.
    """
    import asyncio

    try:
        from distillery.cli.cluster.access import connected
    except ModuleNotFoundError as error:
        raise DistilleryError(f"the Kubernetes client ({error.name}) is not installed → {INSTALL}") from None

    async def conversation() -> T:
        task = asyncio.current_task()
        assert task is not None
        if signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:  # as asyncio does for SIGINT
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with connected(cluster, Settings.read()) as access:
            return await work(access)

    try:
        return asyncio.run(conversation())
    except (asyncio.CancelledError, KeyboardInterrupt):
        if interrupted:
            print(interrupted, file=sys.stderr)
        raise KeyboardInterrupt from None

"""An operator whose reconciler writes down what it sees and changes nothing.

    python watching_operator.py KUBECONFIG FILE NAME NAMESPACE [NAMESPACES]

FILE gets a JSON line per look: the job, the process, and the names and states of its children in the cache.
"""

import asyncio
import json
import os
import sys
import time

from distillery.controller.logs import configure_logging
from distillery.controller.shell import Parts, Shell, Where
from distillery.kube.resources import DISTILLATION_JOBS
from distillery.planning.children import PodView, RayJobView


class Noting:
    """A reconciler that only looks."""

    def __init__(self, parts: Parts, file: str, name: str) -> None:
        self._parts = parts
        self._file = file
        self._name = name

    async def reconcile(self, namespace: str, name: str) -> float | None:
        job = await self._parts.kube.find(DISTILLATION_JOBS, name, namespace)
        uid = job["metadata"]["uid"] if job else ""
        children = sorted(self._parts.cache.children(namespace, uid), key=lambda view: view.name)
        self._note(
            job=f"{namespace}/{name}" if job else f"no {namespace}/{name}",
            children=[
                f"{view.name} {view.job_status}"
                if isinstance(view, RayJobView)
                else f"{view.name} {view.trouble}"
                if isinstance(view, PodView)
                else view.name
                for view in children
            ],
        )
        return None

    def forget(self, uid: str) -> None:
        self._note(forgot=uid)

    def _note(self, **what: object) -> None:
        with open(self._file, "a") as file:
            file.write(json.dumps({"by": self._name, **what}) + "\n")


def main() -> int:
    kubeconfig, file, name, namespace, *namespaces = sys.argv[1:]
    configure_logging("info")
    where = Where(name, namespace, tuple(namespaces), "127.0.0.1", 0, kubeconfig)
    shell = Shell(where, lambda parts: Noting(parts, file, name), time.time)
    status = asyncio.run(shell.run())
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()

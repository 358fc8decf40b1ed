"""A real kube-apiserver for tests, made by e2e/cluster, and what it takes to use one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

import children
from distillery.errors import DistilleryError
from distillery.kube.client import Kube
from distillery.kube.resources import Resource

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "e2e" / "cluster"
HARNESS = CLUSTER / "apiserver"
CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running API server in `folder`."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    @property
    def pid(self) -> int:
        return int(json.loads((self.folder / "run" / "kube-apiserver.json").read_text())["pid"])

    def kill(self) -> None:
        """Kill the API server alone; `start` brings it back on the same port with its data."""
        os.kill(self.pid, signal.SIGKILL)

    def start(self) -> None:
        children.run([HARNESS, "start", "--dir", self.folder], check=True, capture_output=True, timeout=900)

    def stop(self) -> None:
        children.run([HARNESS, "stop", "--dir", self.folder], check=True, capture_output=True, timeout=60)

    def act(self, work: Callable[[Kube], Coroutine[Any, Any, T]]) -> T:
        """Do something as the administrator."""

        async def conversation() -> T:
            async with Kube.connect(str(self.kubeconfig)) as kube:
                return await work(kube)

        return asyncio.run(conversation())


async def install_crds(kube: Kube) -> None:
    """Create our CRDs and KubeRay's and wait until they are served."""
    await install_kinds(kube, [*(ROOT / "crds").glob("*.yaml"), *kuberay_crds()])


async def install_kinds(kube: Kube, definitions: Iterable[Path]) -> None:
    """Create CRDs and wait until they are served; `kubectl wait` fails while they have no conditions yet."""
    names = [await _install(kube, path) for path in definitions]
    for name in names:
        while not _established(await kube.get(CRDS, name)):
            await asyncio.sleep(0.1)


def kuberay_crds() -> list[Path]:
    """The CRD files of KubeRay in the version that the cluster uses, without the kinds that we do not."""
    finder = "import tools; print(tools.kuberay_config())"
    found = children.run(
        [sys.executable, "-c", finder], cwd=CLUSTER, check=True, capture_output=True, text=True, timeout=900
    )
    folder = Path(found.stdout.strip().splitlines()[-1]) / "crd" / "bases"
    return [folder / "ray.io_rayjobs.yaml", folder / "ray.io_rayclusters.yaml"]


async def _install(kube: Kube, path: Path) -> str:
    body = yaml.load(path.read_text(), yaml.CSafeLoader)
    await kube.create(CRDS, body)
    return str(body["metadata"]["name"])


def _established(definition: dict[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


async def until(
    condition: Callable[[], Coroutine[Any, Any, T]] | Callable[[], T], what: str, seconds: float = 120.0
) -> T:
    """Wait until a condition holds and return its value; errors of a server that is away count as not yet."""
    for _ in range(int(seconds / 0.05)):
        try:
            value = condition()
            value = await value if asyncio.iscoroutine(value) else value
        except DistilleryError:
            value = None
        if value:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


def managers(server: ApiServer, plural: str, name: str, namespace: str) -> set[tuple[str, str | None]]:
    """Return who has written an object, and to which subresource: our client leaves this out of what it returns."""
    arguments = ("get", plural, name, "-n", namespace, "-o", "json", "--show-managed-fields")
    fields = json.loads(kubectl(server, *arguments))["metadata"]["managedFields"]
    return {(field["manager"], field.get("subresource")) for field in fields}


def kubectl(server: ApiServer, *arguments: str) -> str:
    """Run kubectl as the administrator and return what it prints."""
    program = sorted(Path("~/.cache/distillery/bin").expanduser().glob("kubernetes-*/kubectl"))[-1]
    command = [program, "--kubeconfig", server.kubeconfig, *arguments]
    return children.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

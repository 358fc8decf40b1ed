"""Bring the cluster up: programs, processes, node, images, KubeRay; each step does only what is missing."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cleanup
import config
import crds
import images
import loading
import network
import node
import packages
import services
import tools
from components import COMPONENTS
from process import Failure

SUMMARY = config.STATE / "cluster.json"


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long a part took."""
    began = time.monotonic()
    yield
    print(f"{what:<44} {time.monotonic() - began:7.1f} s", flush=True)


class Background(threading.Thread):
    """An action beside the others; `result` waits for it and raises what it raised."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._action = action
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._action()
        except Exception as error:  # noqa: BLE001 (handed over to whoever waits)
            self._error = error

    def result(self) -> None:
        self.join()
        if self._error is not None:
            raise self._error


def up() -> None:
    """Bring everything up and write what tests need to know to cluster.json."""
    began = time.monotonic()
    with timed("Debian packages"):
        packages.install(*packages.CLUSTER)
    _clear_if_broken()
    building = Background(_build_images)
    with timed("programs (Go)"):
        for module in tools.MODULES:
            tools.build(module)
        tools.kuberay_config()
        services.s3_binary()
    with timed("processes"):
        start()
    with timed("KubeRay"):
        install_kuberay()
    with timed("images: wait for their build"):
        building.result()
    references = {}
    for image in (images.OPERATOR, images.WORKER):
        with timed(f"image {image.reference}"):
            references[image.short] = loading.ensure(image)
    with timed("KubeRay and node ready"):
        wait_ready()
    write_summary(references)
    print(f"{'cluster up':<44} {time.monotonic() - began:7.1f} s", flush=True)


def _clear_if_broken() -> None:
    """Keep a cluster of which something runs, and mend it; clear what is left of one that was stopped hard."""
    noted = [name for name in COMPONENTS if (config.STATE / "run" / f"{name}.json").exists()]
    if network.exists() and any(COMPONENTS[name]().pid() is not None for name in noted):
        return
    if found := cleanup.leftovers():
        print(f"clearing what an earlier cluster left ({len(found)} things, such as {found[-1]})", flush=True)
        with timed("clear"):
            cleanup.remove()


def _build_images() -> None:
    for image in (images.OPERATOR, images.WORKER):
        images.build(image)


def start() -> None:
    """Start what does not run, each after what it needs, until the node and the services answer."""
    config.RUN.mkdir(parents=True, exist_ok=True)
    network.create()
    node.PLANE.prepare()
    for name, daemon in COMPONENTS.items():
        daemon().start()
        if name == "containerd":
            loading.ensure(images.pause())
        if name == "kube-apiserver":
            node.PLANE.kubectl("apply", "-f", "-", text=services.objects())


def install_kuberay() -> None:
    """Apply KubeRay's CRDs and its Deployment under its own RBAC."""
    reference = loading.ensure(images.kuberay())
    kubectl = node.PLANE.kubectl
    manifests = tools.kuberay_config()
    crds.install(kubectl, manifests / "crd" / "bases")
    folder = config.STATE / "kuberay"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(config.HERE / "kuberay", folder)
    shutil.copytree(manifests, folder / "config")
    overlay = folder / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("IMAGE", reference))
    kubectl("apply", "--server-side", "--force-conflicts", "-k", folder)


def wait_ready(seconds: int = 120) -> None:
    """Wait for the node and for KubeRay; on failure show what the cluster says about its pods."""
    kubectl = node.PLANE.kubectl
    try:
        kubectl("wait", "--for=create", f"node/{config.NODE}", f"--timeout={seconds}s")
        kubectl("wait", "--for=condition=Ready", f"node/{config.NODE}", f"--timeout={seconds}s")
        kubectl(
            "-n",
            "kuberay-system",
            "rollout",
            "status",
            "deployment/kuberay-operator",
            f"--timeout={seconds}s",
        )
    except Failure as failure:
        events = kubectl("get", "events", "-A", "--sort-by=.lastTimestamp", check=False)
        raise Failure(f"{failure}\n{events[-3000:]}") from failure


def write_summary(references: dict[str, str]) -> None:
    """Write cluster.json: addresses, files and image references, for tests and for Helm values."""
    access, secret = services.s3_keys()
    summary = {
        "kubeconfig": str(config.KUBECONFIG),
        "kubectl": str(node.program("kubectl")),
        "helm": str(tools.binary(tools.HELM, "helm")),
        "netns": f"/run/netns/{config.NETNS}",
        "node": config.NODE,
        "server": node.PLANE.url,
        "s3": {
            "endpoint": config.S3_ENDPOINT,
            "service": f"http://s3.default.svc:{config.S3_PORT}",
            "bucket": config.S3_BUCKET,
            "accessKey": access,
            "secretKey": secret,
        },
        "images": references,
    }
    SUMMARY.touch(mode=0o600)
    SUMMARY.write_text(json.dumps(summary, indent=1) + "\n")


def describe() -> str:
    """Say how to reach the running cluster."""
    lines = [
        "kubectl:    e2e/cluster/kubectl get pods -A",
        "any client: e2e/cluster/enter COMMAND…          (in the namespace, with KUBECONFIG set)",
        f"S3:         {config.S3_ENDPOINT}, bucket {config.S3_BUCKET}; in pods http://s3.default.svc:{config.S3_PORT}",
        f"for tests:  {SUMMARY} (addresses, S3 keys, image references)",
        f"logs:       {config.STATE}/logs",
        "parts:      e2e/cluster/component restart|stop|start|kill|pid NAME; e2e/cluster/status; e2e/cluster/down",
    ]
    return "\n".join(lines)

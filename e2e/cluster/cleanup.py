"""Take a cluster down, or clear away what a hard stop left: processes, mounts, cgroups, namespace, state."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import time
from pathlib import Path

import config
import network
import runtime
from components import COMPONENTS
from process import Failure, run

CRI = runtime.ROOT / "io.containerd.grpc.v1.cri"
CNI_RESULTS = Path("/var/lib/cni/results")
TASKS = runtime.ROOT / "io.containerd.runtime.v2.task"


def leftovers() -> list[str]:
    """Say what of a cluster is on this machine, in words; empty means nothing."""
    found = [f"state in {folder}" for folder in (config.STATE, config.RUN) if folder.exists()]
    found += [f"mount {path}" for path in mounts()]
    found += [f"cgroup {path}" for path in cgroups()]
    found += [f"process {pid}" for pid in sorted({*runtime.shims(), *runtime.contained()})]
    return [*found, f"network namespace {config.NETNS}"] if network.exists() else found


def mounts() -> list[str]:
    """Return the mount points below the cluster's folders, innermost first."""
    folders = tuple(f"{folder}/" for folder in (config.STATE, config.RUN, runtime.ROOT))
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in reversed(points) if point.startswith(folders)]


def cgroups() -> list[Path]:
    """Return the cluster's own cgroup in each hierarchy that has one."""
    return sorted(Path("/sys/fs/cgroup").glob(f"*/{config.CGROUP}"))


def remove() -> None:
    """Remove everything but the cache. What is in the way is ended by its pid."""
    _stop_node()
    _forget_containers()
    _remove_traces()
    for name in reversed(COMPONENTS):
        _stop(name)
    for point in mounts():
        run("umount", "--lazy", point, check=False)
    for top in cgroups():
        _remove_cgroup(top)
    network.remove()
    for folder in (config.STATE, config.RUN, CRI, TASKS):
        shutil.rmtree(folder, ignore_errors=True)


def _stop(name: str) -> None:
    if (config.STATE / "run" / f"{name}.json").exists():
        COMPONENTS[name]().stop()


def _stop_node() -> None:
    """Stop what would start pods again, then every pod's processes and their shims."""
    for name in ("kubelet", "kube-controller-manager", "kube-scheduler"):
        _stop(name)
    deadline = time.monotonic() + 30
    while pids := {*runtime.contained(), *runtime.shims()}:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Failure(f"these processes of pods do not end: {sorted(pids)}")
        time.sleep(0.2)


def _forget_containers() -> None:
    """Let containerd drop the records of all containers, and with them their file systems; images stay."""
    if not (runtime.ROOT / "io.containerd.metadata.v1.bolt").exists():
        return
    if not runtime.answers():
        if not network.exists():
            network.create()
        config.RUN.mkdir(parents=True, exist_ok=True)
        runtime.daemon().start()
    for container in runtime.ctr("containers", "ls", "-q").split():
        _shim_socket(container).unlink(missing_ok=True)
        for name in (f"{config.NAME}-{container}-eth0", f"cni-loopback-{container}-lo"):
            (CNI_RESULTS / name).unlink(missing_ok=True)
        runtime.ctr("tasks", "rm", "--force", container, check=False)
        runtime.ctr("containers", "rm", container, check=False)


def _shim_socket(container: str) -> Path:
    """Return a shim's socket; containerd keeps those of all its instances in one folder, by a digest."""
    name = hashlib.sha256(f"{config.CONTAINERD_SOCKET}/k8s.io/{container}".encode()).hexdigest()
    return Path("/run/containerd/s") / name


def _remove_traces() -> None:
    """Remove the files that kubelet and CNI keep at fixed places of the machine."""
    logs = Path("/var/log/containers")
    traces = [link for link in logs.glob("*") if str(link.readlink()).startswith(f"{config.STATE}/")]
    devices = Path("/var/lib/kubelet/device-plugins")
    traces += [devices / name for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION")]
    for trace in traces:
        trace.unlink(missing_ok=True)
    folders = (devices, devices.parent, logs, CNI_RESULTS, CNI_RESULTS.parent)
    for folder in (*folders, Path("/run/containerd/s"), Path("/run/containerd")):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_cgroup(top: Path) -> None:
    for folder, _, _ in os.walk(top, topdown=False):
        for _ in range(50):
            try:
                Path(folder).rmdir()
                break
            except OSError:
                time.sleep(0.05)

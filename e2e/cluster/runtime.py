"""containerd for this cluster alone. Its images stay in the cache; everything else is the cluster's state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import config
from process import Daemon, run, write

ROOT = config.CACHE / "images" / "containerd"
STATE = config.RUN / "containerd"
SANDBOX_NAME, SANDBOX_TAG = "localhost/distillery/pause", "1"
CONFIGURATION = f"""\
version = 2
root = "{ROOT}"
state = "{STATE}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{config.CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{SANDBOX_NAME}:{SANDBOX_TAG}"
  # Without CAP_SYS_RESOURCE nothing may lower its OOM score below that of containerd.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{config.RUN / "runc"}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{config.STATE / "cni"}"
"""
NETWORK = {
    "cniVersion": "0.4.0",
    "name": config.NAME,
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(config.STATE / "ipam"),
                "ranges": [[{"subnet": config.POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def daemon() -> Daemon:
    """Return containerd, with its configuration written."""
    write(config.STATE / "cni" / "10-pods.conflist", json.dumps(NETWORK, indent=1))
    configuration = write(config.STATE / "containerd.toml", CONFIGURATION)
    return Daemon(
        "containerd", config.STATE, ["containerd", "--config", configuration], answers, config.NETNS
    )


def ctr(*words: str | Path, check: bool = True, stdin: IO[bytes] | None = None) -> str:
    """Run ctr in the namespace of Kubernetes."""
    return run(
        "ctr", "--address", config.CONTAINERD_SOCKET, "-n", "k8s.io", *words, check=check, stdin=stdin
    ).stdout


def answers() -> bool:
    """Tell whether containerd answers."""
    return run("ctr", "--address", config.CONTAINERD_SOCKET, "version", check=False).returncode == 0


def shims() -> list[int]:
    """Return the pids of this containerd's shims (the parents of every container)."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"containerd-shim" in words[0] and str(config.CONTAINERD_SOCKET).encode() in words:
                found.append(int(folder.name))
    return found


def contained() -> list[int]:
    """Return the pids of the processes in pods, found by their cgroups."""
    found: set[int] = set()
    for group in Path("/sys/fs/cgroup").glob(f"*/{config.CGROUP}/**/cgroup.procs"):
        try:
            found.update(int(line) for line in group.read_text().split())
        except OSError:
            continue
    return sorted(found)

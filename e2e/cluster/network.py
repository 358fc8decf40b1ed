"""The network namespace that holds the whole node. It has no way out: its only link ends in itself."""

from __future__ import annotations

from pathlib import Path

import config
from process import run

LINK, PEER = "node0", "node0-peer"
SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    # Replies from a pod to a pod by way of a Service must pass kube-proxy's rules, though both sit on one bridge.
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.ipv4.conf.all.rp_filter": "0",
}


def exists() -> bool:
    """Tell whether the namespace is there."""
    return Path(f"/run/netns/{config.NETNS}").exists()


def inside(*command: str | Path) -> list[str | Path]:
    """Return a command as it runs inside the namespace."""
    return ["nsenter", f"--net=/run/netns/{config.NETNS}", "--", *command]


def create() -> None:
    """Make the namespace with the node's address on a veth whose other end is in there too, unless it exists.

    (The kernel may lack the `dummy` device.) Whoever calls an address outside is told at once that there is no way.
    """
    if not exists():
        run("ip", "netns", "add", config.NETNS)
    if run(*inside("ip", "link", "show", LINK), check=False).returncode != 0:
        run(*inside("ip", "link", "add", LINK, "type", "veth", "peer", "name", PEER))
    for words in (
        ("link", "set", "lo", "up"),
        ("link", "set", PEER, "up"),
        ("link", "set", LINK, "up"),
        ("address", "replace", f"{config.NODE_IP}/24", "dev", LINK),
        ("route", "replace", config.SERVICE_RANGE, "dev", LINK),
        ("route", "replace", "unreachable", "default"),
    ):
        run(*inside("ip", *words))
    for name, value in SYSCTLS.items():
        run(*inside("sysctl", "-q", "-w", f"{name}={value}"))


def remove() -> None:
    """Remove the namespace; its devices and rules go with it."""
    run("ip", "netns", "delete", config.NETNS, check=False)

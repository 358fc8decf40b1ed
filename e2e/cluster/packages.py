"""Debian packages that the cluster is made of: install what is missing."""

from __future__ import annotations

import os
import shutil
import sys

from process import Failure, retry, run

CLUSTER = (
    "etcd-server", "etcd-client", "containerd", "runc", "containernetworking-plugins", "iptables", "conntrack",
    "buildah", "skopeo", "debootstrap", "iproute2", "util-linux", "openssl", "curl", "ca-certificates", "kmod",
)  # fmt: skip


def install(*names: str) -> None:
    """Install the packages that are missing; say which if that is not possible here."""
    missing = [name for name in names if not _installed(name)]
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise Failure(f"install these programs first (Debian's names): {' '.join(missing)}")
    print(f"  installing {' '.join(missing)}", flush=True, file=sys.stderr)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = (
        "-o",
        "Acquire::Retries=5",
        "-o",
        "DPkg::Lock::Timeout=300",
        "-y",
        "-qq",
        "--no-install-recommends",
    )

    def once() -> None:
        run("apt-get", "update", "-qq", env=quiet)
        run("apt-get", "install", *options, *missing, env=quiet)

    retry(once)


def _installed(name: str) -> bool:
    done = run("dpkg-query", "-W", "-f", "${db:Status-Status}", name, check=False)
    return done.stdout == "installed"

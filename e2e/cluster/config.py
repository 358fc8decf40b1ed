"""Where the cluster keeps its things, and its addresses. Constants only; nothing here touches the machine."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

CACHE = Path(os.environ.get("DISTILLERY_CACHE") or Path.home() / ".cache" / "distillery")
"""Binaries and images, kept between clusters and checkouts."""

NAME = os.environ.get("DISTILLERY_E2E_NAME") or "distillery-e2e"
"""The cluster's name; a second one beside it needs another name and another cache."""

STATE = Path("/var/lib") / NAME
"""One running cluster: certificates, logs, process ids, etcd's data, kubelet's folder. `down` removes it."""

RUN = Path("/run") / NAME
"""Sockets and containerd's shims."""

NETNS = NAME
NODE = "node-0"
NODE_IP = "10.213.0.1"
POD_RANGE = "10.214.0.0/16"
SERVICE_RANGE = "10.215.0.0/16"
API_SERVICE_IP = "10.215.0.1"
DNS_SERVICE_IP = "10.215.0.10"
DNS_PORT = 1053
API_PORT = 6443
ETCD_PORT = 2379
S3_PORT = 9000
S3_ENDPOINT = f"http://{NODE_IP}:{S3_PORT}"
S3_BUCKET = "distillery"

KUBECONFIG = STATE / "kubeconfig"
CONTAINERD_SOCKET = RUN / "containerd.sock"
CGROUP = NAME
"""The cgroup above those of the pods, in every hierarchy."""

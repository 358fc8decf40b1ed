"""The parts of a running cluster by name, in the order in which they start."""

from __future__ import annotations

from collections.abc import Callable

import node
import runtime
import services
from process import Daemon

COMPONENTS: dict[str, Callable[[], Daemon]] = {
    "etcd": node.PLANE.etcd,
    "kube-apiserver": node.PLANE.apiserver,
    "containerd": runtime.daemon,
    "kube-controller-manager": node.controller_manager,
    "kube-scheduler": node.scheduler,
    "kubelet": node.kubelet,
    "kube-proxy": node.proxy,
    "coredns": services.coredns,
    "s3": services.s3,
}

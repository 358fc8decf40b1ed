"""The cluster's own Kubernetes: control plane, kubelet, kube-proxy, each as a process in the namespace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import config
import network
import tools
from controlplane import ControlPlane
from process import Daemon, run, write

PLANE = ControlPlane(config.STATE, config.NODE_IP, config.API_PORT, config.ETCD_PORT, config.NETNS)

CPU_SHARES = 32 * 1024

KUBELET = f"""\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {config.NODE_IP}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {config.STATE}/pki/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {{certificate}}
tlsPrivateKeyFile: {{key}}
cgroupDriver: cgroupfs
cgroupRoot: /{config.CGROUP}
failCgroupV1: false
failSwapOn: false
clusterDNS: [{config.DNS_SERVICE_IP}]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://{config.CONTAINERD_SOCKET}
resolvConf: {config.STATE}/resolv.conf
podLogsDir: {config.STATE}/pod-logs
volumePluginDir: {config.STATE}/volume-plugins
maxPods: 200
registryPullQPS: 0
serializeImagePulls: false
syncFrequency: 10s
nodeStatusUpdateFrequency: 5s
# The images are this cluster's only copy, and the disk is shared with other work.
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}}
"""
PROXY = f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
bindAddress: {config.NODE_IP}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clusterCIDR: {config.POD_RANGE}
hostnameOverride: {config.NODE}
clientConnection: {{kubeconfig: {config.STATE}/kube-proxy.kubeconfig}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"""


def program(name: str) -> Path:
    return tools.binary(tools.KUBERNETES_MODULE, name)


def _kubeconfig(name: str, subject: str) -> Path:
    return PLANE.authority.kubeconfig(config.STATE / f"{name}.kubeconfig", PLANE.url, name, subject)


def _healthy(url: str) -> Callable[[], bool]:
    curl = network.inside("curl", "-sSk", "--max-time", "3", "--noproxy", "*", url)
    return lambda: run(*curl, check=False).stdout.strip() == "ok"


def _daemon(name: str, options: dict[str, object], ready: Callable[[], bool]) -> Daemon:
    command: list[str | Path] = [program(name), *(f"--{option}={value}" for option, value in options.items())]
    return Daemon(name, config.STATE, command, ready, config.NETNS)


def controller_manager() -> Daemon:
    """Return kube-controller-manager."""
    kubeconfig = _kubeconfig("kube-controller-manager", "/CN=system:kube-controller-manager")
    options: dict[str, object] = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "root-ca-file": PLANE.authority.certificate,
        "service-account-private-key-file": config.STATE / "pki" / "sa.key",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "controllers": "*,-nodeipam",
        "node-monitor-grace-period": "40s",
        "terminated-pod-gc-threshold": "200",
    }
    return _daemon("kube-controller-manager", options, _healthy("https://127.0.0.1:10257/healthz"))


def scheduler() -> Daemon:
    """Return kube-scheduler."""
    kubeconfig = _kubeconfig("kube-scheduler", "/CN=system:kube-scheduler")
    options: dict[str, object] = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
    }
    return _daemon("kube-scheduler", options, _healthy("https://127.0.0.1:10259/healthz"))


def kubelet() -> Daemon:
    """Return kubelet; it registers the node under its own credentials."""
    certificate, key = PLANE.authority.issue("kubelet", f"/CN={config.NODE}", [f"IP:{config.NODE_IP}"])
    content = KUBELET.replace("{certificate}", str(certificate)).replace("{key}", str(key))
    configuration = write(config.STATE / "kubelet.yaml", content)
    write(config.STATE / "resolv.conf", "nameserver 127.0.0.1\n")
    _make_cgroups()
    options: dict[str, object] = {
        "config": configuration,
        "kubeconfig": _kubeconfig("kubelet-client", f"/O=system:nodes/CN=system:node:{config.NODE}"),
        "hostname-override": config.NODE,
        "node-ip": config.NODE_IP,
        "root-dir": config.STATE / "kubelet",
    }
    return _daemon("kubelet", options, _healthy("http://127.0.0.1:10248/healthz"))


def _make_cgroups() -> None:
    """Make the cgroup of all pods. A cgroup counts as much as one process outside: let it weigh as many."""
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        if (hierarchy / "cgroup.procs").exists():
            (hierarchy / config.CGROUP).mkdir(exist_ok=True)
            shares = hierarchy / config.CGROUP / "cpu.shares"
            if shares.exists():
                shares.write_text(str(CPU_SHARES))


def proxy() -> Daemon:
    """Return kube-proxy in iptables mode."""
    _kubeconfig("kube-proxy", "/CN=system:kube-proxy")
    configuration = write(config.STATE / "kube-proxy.yaml", PROXY)
    return _daemon("kube-proxy", {"config": configuration}, lambda: True)

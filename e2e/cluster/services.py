"""What pods use: names (CoreDNS) and storage (an S3 server), each a process with a Service in front of it."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import config
import network
import tools
from node import PLANE
from process import Daemon, run, write

# Two blocks, since `template` answers before `kubernetes` where both stand. Names outside do not exist, at once.
COREFILE = f"""\
cluster.local:{config.DNS_PORT} in-addr.arpa:{config.DNS_PORT} {{
    bind {config.NODE_IP}
    errors
    health {config.NODE_IP}:8081
    ready {config.NODE_IP}:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {config.STATE}/coredns.kubeconfig
        pods insecure
        ttl 5
    }}
}}
.:{config.DNS_PORT} {{
    bind {config.NODE_IP}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""
# A Service without a selector, and its endpoints by hand: the process listens on the node's address.
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{clusterIP: {address}, ports: [{ports}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-node, namespace: {namespace}, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
endpoints: [{{addresses: ["{node}"]}}]
ports: [{targets}]
"""
DNS_READER = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: coredns}
rules:
- {apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns}
subjects: [{kind: User, name: coredns, apiGroup: rbac.authorization.k8s.io}]
"""


def _service(name: str, namespace: str, address: str, ports: dict[str, tuple[str, int, int]]) -> str:
    shown = [
        f"{{name: {n}, protocol: {p}, port: {port}, targetPort: {target}}}"
        for n, (p, port, target) in ports.items()
    ]
    targets = [f"{{name: {n}, protocol: {p}, port: {target}}}" for n, (p, _, target) in ports.items()]
    return SERVICE.format(
        name=name, namespace=namespace, address=address, node=config.NODE_IP,
        ports=", ".join(shown), targets=", ".join(targets),
    )  # fmt: skip


def objects() -> str:
    """Return the manifests of both services."""
    dns = {"dns": ("UDP", 53, config.DNS_PORT), "dns-tcp": ("TCP", 53, config.DNS_PORT)}
    return "---\n".join(
        [
            DNS_READER,
            _service("kube-dns", "kube-system", config.DNS_SERVICE_IP, dns),
            _service("s3", "default", '""', {"s3": ("TCP", config.S3_PORT, config.S3_PORT)}),
        ]
    )


def _get(url: str) -> bool:
    """Tell whether something answers, be it with a refusal."""
    curl = network.inside("curl", "-sS", "--max-time", "3", "--noproxy", "*", "-o", "/dev/null", url)
    return run(*curl, check=False).returncode == 0


def coredns() -> Daemon:
    """Return CoreDNS, which knows the cluster's names and no others."""
    PLANE.authority.kubeconfig(config.STATE / "coredns.kubeconfig", PLANE.url, "coredns", "/CN=coredns")
    command: list[str | Path] = [
        tools.binary(tools.COREDNS, "coredns"),
        "-conf",
        write(config.STATE / "Corefile", COREFILE),
    ]
    return Daemon(
        "coredns", config.STATE, command, lambda: _get(f"http://{config.NODE_IP}:8181/ready"), config.NETNS
    )


def s3_keys() -> tuple[str, str]:
    """Return access key and secret key of the S3 server, made at first use."""
    file = config.STATE / "s3-keys"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(f"e2e{secrets.token_hex(6)} {secrets.token_hex(20)}")
    access, secret = file.read_text().split()
    return access, secret


def s3_binary() -> Path:
    """Return the S3 server that e2e/s3 builds and keeps."""
    sys.path.insert(0, str(config.ROOT / "e2e" / "s3"))
    import server

    return server.build()


def s3() -> Daemon:
    """Return the S3 server with one bucket, over a folder of the state."""
    access, secret = s3_keys()
    data = config.STATE / "s3"
    (data / config.S3_BUCKET).mkdir(parents=True, exist_ok=True)
    address = f"{config.NODE_IP}:{config.S3_PORT}"
    command: list[str | Path] = [s3_binary(), "--port", address, "--quiet", "--keep-alive", "posix", data]
    keys = {"ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret}
    return Daemon("s3", config.STATE, command, lambda: _get(config.S3_ENDPOINT), config.NETNS, keys)

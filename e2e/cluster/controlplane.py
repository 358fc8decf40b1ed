"""etcd and kube-apiserver, the same way for the whole cluster and for a lone API server in tests."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import config
import tools
from pki import Authority
from process import Daemon, direct, run

INTERNAL_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class ControlPlane:
    """Where one API server and its etcd listen, and the folder that holds everything of theirs."""

    folder: Path
    address: str
    port: int
    etcd_port: int
    netns: str | None = None
    lone: bool = False
    """True: nothing else of Kubernetes runs beside it (no controllers, no nodes)."""

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def authority(self) -> Authority:
        return Authority(self.folder / "pki")

    def prepare(self) -> None:
        """Make the certificates and the administrator's kubeconfig."""
        self.authority.create()
        self.authority.kubeconfig(self.folder / "kubeconfig", self.url, "admin", "/O=system:masters/CN=admin")

    def etcd(self) -> Daemon:
        """Return etcd, on loopback of its namespace only."""
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, self.etcd_port + 1))
        command: list[str | Path] = [
            "etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", client,
                   "--advertise-client-urls", client, "--listen-peer-urls", peer,
                   "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                   "--logger", "zap", "--log-level", "warn", "--quota-backend-bytes", str(4 << 30)]  # fmt: skip
        return Daemon(
            "etcd",
            self.folder,
            command,
            lambda: self._answers(f"{client}/health", b'"health":"true"'),
            self.netns,
        )

    def apiserver(self) -> Daemon:
        """Return kube-apiserver with RBAC, Pod Security and signed service account tokens."""
        pki = self.folder / "pki"
        names = [f"DNS:{name}" for name in INTERNAL_NAMES]
        addresses = [f"IP:{address}" for address in ("127.0.0.1", self.address, config.API_SERVICE_IP)]
        server, server_key = self.authority.issue("apiserver", "/CN=kube-apiserver", [*names, *addresses])
        client, client_key = self.authority.issue(
            "apiserver-client", "/O=system:masters/CN=kube-apiserver-client"
        )
        options = {
            "etcd-servers": f"http://127.0.0.1:{self.etcd_port}",
            "bind-address": "127.0.0.1" if self.lone else "0.0.0.0",
            "advertise-address": self.address,
            "secure-port": self.port,
            "service-cluster-ip-range": config.SERVICE_RANGE,
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "" if self.lone else "NodeRestriction",
            # Without controllers no default service account ever appears, and no namespace would take pods.
            "disable-admission-plugins": "ServiceAccount" if self.lone else "",
            "endpoint-reconciler-type": "none" if self.lone else "lease",
            "allow-privileged": "true",
            "client-ca-file": self.authority.certificate,
            "tls-cert-file": server,
            "tls-private-key-file": server_key,
            "kubelet-client-certificate": client,
            "kubelet-client-key": client_key,
            "kubelet-certificate-authority": self.authority.certificate,
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-issuer": ISSUER,
            "service-account-key-file": pki / "sa.pub",
            "service-account-signing-key-file": pki / "sa.key",
            "profiling": "false",
        }
        program = tools.binary(tools.KUBERNETES_MODULE, "kube-apiserver")
        command: list[str | Path] = [
            program,
            *(f"--{name}={value}" for name, value in options.items() if value != ""),
        ]
        return Daemon("kube-apiserver", self.folder, command, self.ready, self.netns)

    def ready(self) -> bool:
        """Tell whether the API server says it is ready (hooks included)."""
        return self._answers(f"{self.url}/readyz", b"ok")

    def _answers(self, url: str, wanted: bytes) -> bool:
        if self.netns is not None:
            curl: list[str | Path] = ["curl", "-sS", "--max-time", "3", "--noproxy", "*", "--cacert"]
            curl += [self.authority.certificate, url]
            done = run("nsenter", f"--net=/run/netns/{self.netns}", "--", *curl, check=False)
            return wanted in done.stdout.encode()
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
        try:
            with urllib.request.build_opener(*handlers).open(url, timeout=3) as answer:
                return wanted in answer.read()
        except (OSError, urllib.error.URLError):
            return False

    def kubectl(self, *words: str | Path, text: str | None = None, check: bool = True) -> str:
        """Run kubectl as administrator and return its output."""
        program = tools.binary(tools.KUBERNETES_MODULE, "kubectl")
        enter = ["nsenter", f"--net=/run/netns/{self.netns}", "--"] if self.netns else []
        kubeconfig = f"--kubeconfig={self.folder / 'kubeconfig'}"
        return run(*enter, program, kubeconfig, *words, text=text, check=check, env=direct()).stdout

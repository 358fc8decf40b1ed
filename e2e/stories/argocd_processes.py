"""A real Argo CD beside a cluster, out of it: redis, repo server, application controller, API server, command line.

All are one Go program that acts by its name. They work as administrator of the cluster and listen on loopback (of
the cluster's network namespace, if it has one).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

CLUSTER = Path(__file__).resolve().parents[1] / "cluster"
CHART = CLUSTER.parents[1] / "charts/distillery"
sys.path.insert(0, str(CLUSTER))

import crds  # noqa: E402
import packages  # noqa: E402
import tools  # noqa: E402
from process import Daemon, run  # noqa: E402

MODULE = tools.Module(
    CLUSTER / "tools/argocd",
    "github.com/argoproj/argo-cd/v3",
    {"argocd": "github.com/argoproj/argo-cd/v3/cmd"},
)
NAMESPACE = "argocd"
SPECIALISED = ("argocd-repo-server", "argocd-application-controller", "argocd-server")
PORTS = ("redis", "repo", "repo-metrics", "controller-metrics", "server", "server-metrics")
FIXED_PORT = 18080
RESYNC_SECONDS = 15


def prepare() -> None:
    """Install and build what is missing. The cluster's network namespace has no way out, so do it before entering."""
    packages.install("redis-server", "git")
    tools.build(MODULE)


class ArgoCD:
    """Argo CD for one cluster.

    Args:
        folder: for programs' names, logs and process ids.
        kubeconfig: administrator's.
        netns: network namespace in which the API server listens, None for this one.
    """

    def __init__(self, folder: Path, kubeconfig: Path, netns: str | None = None) -> None:
        self.folder = folder
        self.kubeconfig = kubeconfig
        self.netns = netns
        self.ports = dict(zip(PORTS, _ports(len(PORTS), netns), strict=True))

    @property
    def repository(self) -> Path:
        """The bare git repository that applications are made of."""
        return self.folder / "repository.git"

    def start(self) -> None:
        """Install the CRDs and settings, with our health and actions, and start the processes."""
        prepare()
        self._link_names()
        kinds = MODULE.source() / "manifests/crds"
        crds.install(self.kubectl, kinds / "application-crd.yaml", kinds / "appproject-crd.yaml")
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(_settings()))
        patch = str(CHART / "argocd/argocd-cm.yaml")
        self.kubectl("-n", NAMESPACE, "patch", "configmap", "argocd-cm", "--patch-file", patch)
        for daemon in self.daemons():
            daemon.start()

    def stop(self) -> None:
        """Stop the processes."""
        for daemon in reversed(self.daemons()):
            daemon.stop()

    def daemons(self) -> list[Daemon]:
        """Return the processes in the order of their start."""
        ports = self.ports
        redis = f"127.0.0.1:{ports['redis']}"
        common = ["--redis", redis, "--loglevel", "info"]
        cluster = ["--kubeconfig", str(self.kubeconfig), "--namespace", NAMESPACE]
        repo = ["--repo-server", f"127.0.0.1:{ports['repo']}", "--repo-server-plaintext"]
        return [
            self._daemon(
                "redis-server",
                "redis",
                *("--bind", "127.0.0.1", "--port", str(ports["redis"]), "--save", "", "--appendonly", "no"),
            ),
            self._daemon(
                "argocd-repo-server",
                "repo",
                *("--address", "127.0.0.1", "--port", str(ports["repo"]), "--disable-tls"),
                *("--metrics-address", "127.0.0.1", "--metrics-port", str(ports["repo-metrics"])),
                *common,
            ),
            self._daemon(
                "argocd-application-controller",
                "controller-metrics",
                *("--metrics-port", str(ports["controller-metrics"]), "--app-resync", str(RESYNC_SECONDS)),
                *("--app-resync-jitter", "0"),
                *common,
                *repo,
                *cluster,
            ),
            self._daemon(
                "argocd-server",
                "server",
                *("--address", "127.0.0.1", "--port", str(ports["server"]), "--insecure", "--disable-auth"),
                *("--metrics-address", "127.0.0.1", "--metrics-port", str(ports["server-metrics"])),
                *common,
                *repo,
                *cluster,
            ),
        ]

    def cli(self, *words: str) -> str:
        """Run `argocd` against its API server and return the output."""
        server = ["--server", f"127.0.0.1:{self.ports['server']}", "--plaintext"]
        program = str(tools.binary(MODULE, "argocd"))
        return run(*self._enter(), program, *words, *server, env=self._environment()).stdout

    def kubectl(self, *words: str, text: str | None = None) -> str:
        """Run kubectl as administrator and return the output."""
        program = str(tools.binary(tools.KUBERNETES_MODULE, "kubectl"))
        return run(*self._enter(), program, f"--kubeconfig={self.kubeconfig}", *words, text=text).stdout

    def get(self, *words: str) -> dict[str, Any]:
        """Return what `kubectl get` says, as a mapping."""
        return dict(json.loads(self.kubectl("get", *words, "-o", "json")))

    def application(self, name: str, namespace: str) -> None:
        """Create an Application on the repository, with automated prune and self-heal."""
        body = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "project": "default",
                "source": {"repoURL": f"file://{self.repository}", "path": "jobs", "targetRevision": "main"},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": namespace},
                "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
            },
        }
        self.kubectl("apply", "-f", "-", text=json.dumps(body))

    def refresh(self, name: str) -> None:
        """Make Argo CD look at Git now."""
        words = ("annotate", "application", name, "--overwrite", "argocd.argoproj.io/refresh=hard")
        self.kubectl("-n", NAMESPACE, *words)

    def state(self, name: str) -> dict[str, str]:
        """Return sync and health of an application, and the health of its DistillationJob with its message."""
        status = self.get("-n", NAMESPACE, "application", name).get("status", {})
        tree = json.loads(self.cli("app", "get", name, "-o", "json")) if status else {}
        resources = tree.get("status", {}).get("resources", [])
        health = next((r.get("health") or {} for r in resources if r["kind"] == "DistillationJob"), {})
        return {
            "sync": status.get("sync", {}).get("status", ""),
            "application": status.get("health", {}).get("status", ""),
            "job": health.get("status", ""),
            "message": health.get("message", ""),
            "revision": status.get("sync", {}).get("revision", ""),
        }

    def commit(self, files: dict[str, str | None], message: str) -> str:
        """Commit files below jobs/ (None deletes one), push, and return the commit's name."""
        work = self.folder / "work"
        if not self.repository.exists():
            run("git", "init", "--quiet", "--bare", "--initial-branch=main", self.repository)
            shutil.rmtree(work, ignore_errors=True)
            run("git", "clone", "--quiet", self.repository, work)
        for name, text in files.items():
            path = work / "jobs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        who = ("-c", "user.name=e2e", "-c", "user.email=e2e@example.com")
        run("git", "-C", work, "add", "--all")
        run("git", "-C", work, *who, "commit", "--quiet", "--allow-empty", "-m", message)
        run("git", "-C", work, "push", "--quiet", "origin", "HEAD:main")
        return run("git", "-C", work, "rev-parse", "HEAD").stdout.strip()

    def _daemon(self, program: str, port: str, *options: str) -> Daemon:
        path = self.folder / "bin" / program if program in SPECIALISED else shutil.which(program) or program
        number = self.ports[port]
        return Daemon(
            name=program,
            folder=self.folder,
            command=[path, *options],
            ready=lambda: self._answers(number),
            netns=self.netns,
            environment=self._environment(),
        )

    def _answers(self, port: int) -> bool:
        probe = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2).close()"
        return run(*self._enter(), sys.executable, "-c", probe, check=False).returncode == 0

    def _enter(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.netns}", "--"] if self.netns else []

    def _link_names(self) -> None:
        folder = self.folder / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        for name in SPECIALISED:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(tools.binary(MODULE, "argocd"))

    def _environment(self) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        ours = {
            "HOME": str(home),
            "TMPDIR": "/tmp",
            "KUBECONFIG": str(self.kubeconfig),
            "ARGOCD_FAKE_IN_CLUSTER": "true",
            "ARGOCD_GPG_ENABLED": "false",
            "ARGOCD_TLS_DATA_PATH": str(home),
            "ARGOCD_SSH_DATA_PATH": str(home),
            "ARGOCD_PLUGINSOCKFILEPATH": str(home),
            "NO_PROXY": "*",
            "no_proxy": "*",
        }
        return {**{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}, **ours}


def _ports(count: int, netns: str | None) -> list[int]:
    """Return free ports; inside the cluster's namespace nobody else uses those from FIXED_PORT on."""
    if netns is not None:
        return [FIXED_PORT + index for index in range(count)]
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _settings() -> dict[str, Any]:
    """Return namespace, ConfigMaps, Secret and default project that Argo CD starts with."""

    def item(kind: str, name: str, **rest: Any) -> dict[str, Any]:
        labels = {"app.kubernetes.io/part-of": "argocd", "app.kubernetes.io/name": name}
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}

    project = {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    }
    names = ("argocd-rbac-cm", "argocd-ssh-known-hosts-cm", "argocd-tls-certs-cm", "argocd-gpg-keys-cm")
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            item("ConfigMap", "argocd-cm", data={"timeout.reconciliation": f"{RESYNC_SECONDS}s"}),
            *(item("ConfigMap", name) for name in names),
            item("Secret", "argocd-secret", stringData={"server.secretkey": secrets.token_hex(32)}),
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "AppProject",
                "metadata": {"name": "default", "namespace": NAMESPACE},
                "spec": project,
            },
        ],
    }


if __name__ == "__main__":
    prepare()

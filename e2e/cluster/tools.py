"""The Go programs of the cluster: built once from pinned modules, kept in the cache under their version."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from config import CACHE, HERE
from process import Failure, exclusive, retry, run

COMPONENT_BASE = "k8s.io/component-base/version"
KUBERNETES = "v1.34.4"


@dataclass(frozen=True)
class Module:
    """One go.mod under tools/ (or elsewhere): its folder, its main requirement, and the commands wanted of it."""

    folder: Path
    path: str
    commands: dict[str, str]
    variables: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def version(self) -> str:
        """Return the pinned version of the main requirement, read from go.mod."""
        found = re.search(rf"{re.escape(self.path)} (v\S+)", (self.folder / "go.mod").read_text())
        if found is None:
            raise Failure(f"{self.folder / 'go.mod'} does not require {self.path}")
        return found.group(1)

    @property
    def target(self) -> Path:
        """Return the cache folder of this version with exactly these pins."""
        pins = b"".join((self.folder / name).read_bytes() for name in ("go.mod", "go.sum"))
        digest = hashlib.sha256(pins + repr(self.variables).encode()).hexdigest()[:8]
        return CACHE / "bin" / f"{self.name}-{self.version}-linux-{platform.machine()}-{digest}"

    def source(self) -> Path:
        """Return the unpacked source of the main requirement (downloaded if need be)."""
        retry(lambda: run(go(), "mod", "download", self.path, cwd=self.folder, env=environment()))
        done = run(go(), "list", "-m", "-f", "{{.Dir}}", self.path, cwd=self.folder, env=environment())
        return Path(done.stdout.strip())


def _module(name: str, path: str, *variables: str, **commands: str) -> Module:
    named = {command.replace("_", "-"): package for command, package in commands.items()}
    return Module(HERE / "tools" / name, path, named, variables)


KUBERNETES_MODULE = _module(
    "kubernetes",
    "k8s.io/kubernetes",
    f"{COMPONENT_BASE}.gitVersion={KUBERNETES}",
    f"{COMPONENT_BASE}.gitMajor=1",
    f"{COMPONENT_BASE}.gitMinor=34",
    **{
        name.replace("-", "_"): f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver",
            "kubectl",
            "kubelet",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
        )
    },
)
KUBERAY = _module(
    "kuberay",
    "github.com/ray-project/kuberay/ray-operator",
    kuberay="github.com/ray-project/kuberay/ray-operator",
)
HELM = _module("helm", "helm.sh/helm/v3", helm="helm.sh/helm/v3/cmd/helm")
COREDNS = _module("coredns", "github.com/coredns/coredns", coredns="github.com/coredns/coredns")
MODULES = (KUBERNETES_MODULE, KUBERAY, COREDNS, HELM)


def kuberay_config() -> Path:
    """Return KubeRay's manifests (CRDs, RBAC, Deployment), copied from its module into the cache."""
    kept = KUBERAY.target / "config"
    if not kept.exists():
        part = kept.with_name(f".config.{os.getpid()}")
        for name in ("crd/bases", "rbac", "manager"):
            shutil.copytree(KUBERAY.source() / "config" / name, part / name, copy_function=shutil.copyfile)
        part.replace(kept)
    return kept


def pause() -> Path:
    """Return the cache folder with the `pause` program, which holds the namespaces of every pod."""
    source = HERE / "pause"
    digest = hashlib.sha256((source / "main.go").read_bytes()).hexdigest()[:8]
    target = CACHE / "bin" / f"pause-{digest}"
    if not (target / "pause").exists():
        run(
            go(),
            "build",
            "-trimpath",
            "-ldflags=-s -w",
            "-o",
            target / "pause",
            ".",
            cwd=source,
            env=environment(),
        )
    return target


def go() -> str:
    """Return the path of the go command."""
    found = shutil.which("go")
    if found is None:
        raise Failure("the cluster's programs are built with Go: install Go 1.26 or later and put it on PATH")
    return found


def environment() -> dict[str, str]:
    """Return the environment of Go builds: static binaries, never another toolchain."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}


def build(module: Module, *names: str) -> list[Path]:
    """Return the paths of a module's programs (all, or those named); build those that the cache lacks."""
    wanted = names or tuple(module.commands)
    target = module.target
    if all((target / name).exists() for name in wanted):
        return [target / name for name in wanted]
    with exclusive(CACHE / "bin" / f".{module.name}.lock"):
        missing = [name for name in wanted if not (target / name).exists()]
        if missing:
            what = f"{', '.join(missing)} ({module.name} {module.version})"
            print(f"  building {what}", flush=True, file=sys.stderr)
            began = time.monotonic()
            _build(module, missing, target)
            print(f"  built {what} in {time.monotonic() - began:.0f} s", flush=True, file=sys.stderr)
    return [target / name for name in wanted]


def _build(module: Module, names: list[str], target: Path) -> None:
    """Build into a temporary folder first, so that the cache holds whole programs only. Called under the lock."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    flags = " ".join(["-s", "-w", *(f"-X {variable}" for variable in module.variables)])
    options = ["-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={flags}"]
    try:
        retry(lambda: run(go(), "mod", "download", cwd=module.folder, env=environment()))
        packages = [module.commands[name] for name in names]
        run(
            "nice", go(), "build", *options, "-o", f"{part}/", *packages, cwd=module.folder, env=environment()
        )
        for name in names:
            (part / module.commands[name].rpartition("/")[2]).replace(target / name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def binary(module: Module, name: str) -> Path:
    """Return the path of one program, built if need be."""
    return build(module, name)[0]

"""What is wrong with a kubeconfig that leads nowhere, in words that name the file, the context and the repair."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distillery.api.yaml import load_yaml
from distillery.cli.cluster.options import DEFAULT_KUBECONFIG, Cluster
from distillery.errors import SpecError
from distillery.settings import Settings

ANOTHER = "name one with --kubeconfig or KUBECONFIG"
MISSING = f"there is no kubeconfig (looked at {DEFAULT_KUBECONFIG} and $KUBECONFIG) → {ANOTHER}"
MAX_NAMES = 12
"""Contexts that a message lists."""


def is_missing(cluster: Cluster, settings: Settings) -> bool:
    """Say whether a kubeconfig is needed, as it is outside a pod and for any context, and there is none."""
    in_pod = bool(settings.variable("KUBERNETES_SERVICE_HOST"))
    return cluster.file(settings) is None and (cluster.context is not None or not in_pod)


def fault_of(files: str | None, context: str | None, error: str) -> str:
    """Return what is wrong; `error`, which the client said, where the contexts are as they should be."""
    if files is None:
        return MISSING
    configs = list(_configs(files))
    names = [name for config in configs for name in _names(config)]
    wanted = context or next(filter(None, (config.get("current-context") for config in configs)), None)
    if not configs or wanted in names:
        return error
    if not names:
        return f"kubeconfig {files} has no contexts → {ANOTHER}"
    repair = f"name one with --context: {_listed(names)}"
    if wanted is None:
        return f"kubeconfig {files} has no current context → {repair}"
    return f"kubeconfig {files} has no context {wanted} → {repair}"


def _configs(files: str) -> Iterator[dict[str, Any]]:
    """Read those that can be read; an empty file is an empty mapping."""
    for file in files.split(os.pathsep):
        try:
            text = Path(file).expanduser().read_bytes()
            yield load_yaml(text, file) if text.strip() else {}
        except (OSError, SpecError):
            continue


def _names(config: dict[str, Any]) -> list[str]:
    entries = config.get("contexts")
    if not isinstance(entries, list):
        return []
    names = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str)]


def _listed(names: Sequence[str]) -> str:
    more = ["…"] if len(names) > MAX_NAMES else []
    return ", ".join([*names[:MAX_NAMES], *more])

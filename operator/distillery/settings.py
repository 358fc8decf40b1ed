"""The process's settings: the only reader of the environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECRET_PREFIX = "DISTILLERY_SECRET_"
ASSIGNMENT_FILE = "/etc/distillery/assignment.json"
CONTAINER_LOG = "/proc/1/fd/1"
WORKER_FOLDER = "/tmp/distillery"
OPERATOR_PORT = 8080
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """A snapshot of what the environment says."""

    environment: Mapping[str, str]

    @classmethod
    def read(cls) -> Settings:
        """Take the snapshot."""
        return cls(dict(os.environ))

    def secret(self, name: str, key: str) -> str | None:
        """Return DISTILLERY_SECRET_<NAME>_<KEY>, letters upper-cased and the rest underscores, or None."""
        return self.environment.get(secret_variable(name, key))

    def secret_values(self) -> list[str]:
        """Return the values of all variables that stand for a key of a Secret."""
        return [value for name, value in self.environment.items() if name.startswith(SECRET_PREFIX)]

    def variable(self, name: str) -> str | None:
        """Return a variable by name, or None."""
        return self.environment.get(name)

    @property
    def assignment(self) -> Path:
        """Return DISTILLERY_ASSIGNMENT, the file that says what a worker is to do."""
        return Path(self.environment.get("DISTILLERY_ASSIGNMENT") or ASSIGNMENT_FILE)

    @property
    def container_log(self) -> Path | None:
        """Return the output of the container's first process, which `kubectl logs` shows.

        None for that process itself, and where DISTILLERY_ASSIGNMENT is not what the operator sets in its pods.
        """
        in_pod = self.environment.get("DISTILLERY_ASSIGNMENT") == ASSIGNMENT_FILE
        return Path(CONTAINER_LOG) if in_pod and os.getpid() != 1 else None

    @property
    def folder(self) -> Path:
        """Return DISTILLERY_FOLDER, a worker's local disk."""
        return Path(self.environment.get("DISTILLERY_FOLDER") or WORKER_FOLDER)

    @property
    def cores(self) -> int | None:
        """Return DISTILLERY_CORES, with how many cores a worker pod without a CPU limit should count."""
        text = self.environment.get("DISTILLERY_CORES") or ""
        return int(text) if text.isdecimal() and int(text) else None

    @property
    def pod_name(self) -> str:
        """Return POD_NAME, or the machine's name outside a pod."""
        return self.environment.get("POD_NAME") or socket.gethostname()

    @property
    def namespace(self) -> str | None:
        """Return POD_NAMESPACE, where the operator's Lease is; None: that of the kubeconfig's context."""
        return self.environment.get("POD_NAMESPACE") or None

    @property
    def watch_namespaces(self) -> tuple[str, ...]:
        """Return DISTILLERY_WATCH_NAMESPACES, separated by commas; none: all namespaces."""
        names = (self.environment.get("DISTILLERY_WATCH_NAMESPACES") or "").split(",")
        return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))

    @property
    def worker_image(self) -> str:
        """Return DISTILLERY_WORKER_IMAGE, the image of Ray pods unless a profile names one; empty: none."""
        return self.environment.get("DISTILLERY_WORKER_IMAGE") or ""

    @property
    def ray_version(self) -> str | None:
        """Return DISTILLERY_RAY_VERSION, the version of Ray in that image."""
        return self.environment.get("DISTILLERY_RAY_VERSION") or None

    @property
    def port(self) -> int:
        """Return DISTILLERY_PORT, where the operator serves probes and metrics. Raises: ValueError."""
        return int(self.environment.get("DISTILLERY_PORT") or OPERATOR_PORT)

    @property
    def log_level(self) -> str:
        """Return DISTILLERY_LOG_LEVEL: debug, info, warning or error. Raises: ValueError."""
        level = (self.environment.get("DISTILLERY_LOG_LEVEL") or "info").lower()
        if level not in LOG_LEVELS:
            raise ValueError(f"DISTILLERY_LOG_LEVEL: {level!r} is none of {', '.join(LOG_LEVELS)}")
        return level


def secret_variable(name: str, key: str) -> str:
    """Return the environment variable that stands for one key of a Secret."""
    return SECRET_PREFIX + re.sub(r"[^A-Z0-9]", "_", f"{name}_{key}".upper())

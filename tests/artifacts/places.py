"""Where the conformance suite keeps its objects: a description of a store that another process can open too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import children
from distillery.artifacts.credentials import S3CredentialsReference
from distillery.artifacts.opening import open_location
from distillery.artifacts.store import ObjectStore

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3-credentials"
S3_ENDPOINT = os.environ.get("DISTILLERY_TEST_S3_ENDPOINT")
S3_BUCKET = os.environ.get("DISTILLERY_TEST_S3_BUCKET", "distillery-test")
S3_KEYS = {
    "AWS_ACCESS_KEY_ID": os.environ.get("DISTILLERY_TEST_S3_ACCESS_KEY", ""),
    "AWS_SECRET_ACCESS_KEY": os.environ.get("DISTILLERY_TEST_S3_SECRET_KEY", ""),
}


class FixedSecrets:
    """Secrets from a mapping of key → value, the same under every name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def get(self, name: str, key: str) -> str:
        return self._values[key]

    def optional(self, name: str, key: str) -> str | None:
        return self._values.get(key)


def fixed_keys(access_key: str, secret_key: str) -> S3CredentialsReference:
    values = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    return S3CredentialsReference(SECRET, FixedSecrets(values))


@dataclass(frozen=True)
class Place:
    """A store that is empty at first."""

    uri: str
    endpoint: str | None = None

    @property
    def on_s3(self) -> bool:
        return self.uri.startswith("s3://")

    def open(self) -> ObjectStore:
        secret = SECRET if self.on_s3 else None
        return open_location(self.uri, self.endpoint, secret, FixedSecrets(S3_KEYS), "spec.storage")

    def start(self, task: str, *arguments: str) -> subprocess.Popen[str]:
        """Run a task of `contender.py` in another process."""
        script = Path(__file__).with_name("contender.py")
        command = [sys.executable, str(script), self.uri, self.endpoint or "", task, *arguments]
        path = os.pathsep.join([str(ROOT / "operator"), str(ROOT / "tests")])
        return children.start(
            command,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

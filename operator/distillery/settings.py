"""The process's settings: the only reader of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass


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

    def variable(self, name: str) -> str | None:
        """Return a variable by name, or None."""
        return self.environment.get(name)


def secret_variable(name: str, key: str) -> str:
    """Return the environment variable that stands for one key of a Secret."""
    return "DISTILLERY_SECRET_" + re.sub(r"[^A-Z0-9]", "_", f"{name}_{key}".upper())

"""Secrets of a pod: the operator renders every reference as an environment variable by secretKeyRef."""

from __future__ import annotations

from distillery.errors import Problem
from distillery.secrets import EnvironmentSecrets
from distillery.settings import Settings


class PodSecrets(EnvironmentSecrets):
    """As the environment holds them; messages speak of the Secret, its key and its namespace."""

    def __init__(self, settings: Settings, namespace: str) -> None:
        super().__init__(settings)
        self._namespace = namespace

    def _missing(self, name: str, key: str) -> Problem:
        return Problem(
            f"secret {name}/{key}",
            f"the Secret {name} in namespace {self._namespace} has no value under the key {key}",
            f"add the key {key} to the Secret; the next attempt reads it",
        )

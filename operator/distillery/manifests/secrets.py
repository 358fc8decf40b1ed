"""Secrets by reference: which keys of which Secrets a stage's pods see as environment variables. Pure.

No value passes through here, and the operator may not read Secrets: a missing one shows as a container that
waits with CreateContainerConfigError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from distillery.api.v1alpha1.common import S3_ACCESS_KEY, S3_SECRET_KEY, S3_SESSION_TOKEN, Storage
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem
from distillery.manifests.metadata import Manifest
from distillery.settings import secret_variable
from distillery.stages.stage import STAGE_NAMES, StageName

ASKING_STAGES: frozenset[StageName] = frozenset({"dataset", "teacher", "evaluation"})
"""The stages that call the teacher: preflight, labelling, answers on the test split."""


@dataclass(frozen=True, slots=True)
class SecretUse:
    """One key that a field of the spec refers to."""

    field: str
    name: str
    key: str
    optional: bool = False

    @property
    def variable(self) -> str:
        """Environment variable that carries it."""
        return secret_variable(self.name, self.key)


def secret_uses(spec: DistillationJobSpec, storage: Storage, stage: StageName) -> list[SecretUse]:
    """Return what a stage refers to: each key once, required if one reference requires it."""
    found: dict[tuple[str, str], SecretUse] = {}
    for use in _references(spec, storage, stage):
        known = found.setdefault((use.name, use.key), use)
        if known.optional and not use.optional:
            found[use.name, use.key] = use
    return list(found.values())


def secret_env(uses: list[SecretUse]) -> list[Manifest]:
    """Return the `env` entries of a container."""
    return [{"name": use.variable, "valueFrom": {"secretKeyRef": _selector(use)}} for use in uses]


def secret_problems(spec: DistillationJobSpec, storage: Storage) -> list[Problem]:
    """Return the references that would overwrite each other, since their variables have the same name."""
    problems: dict[tuple[str, str], Problem] = {}
    for stage in STAGE_NAMES:
        taken: dict[str, SecretUse] = {}
        for use in secret_uses(spec, storage, stage):
            other = taken.setdefault(use.variable, use)
            if other is not use:
                message = (
                    f"key {use.key} of Secret {use.name} and key {other.key} of Secret {other.name} "
                    f"({other.field}) would both be {use.variable}"
                )
                problem = Problem(use.field, message, "rename one of the Secrets or keys")
                problems.setdefault((use.field, message), problem)
    return list(problems.values())


def _references(spec: DistillationJobSpec, storage: Storage, stage: StageName) -> Iterator[SecretUse]:
    if storage.credentials_secret:
        yield from _s3_keys("spec.storage.credentialsSecret", storage.credentials_secret)
    if stage == "dataset":
        for index, source in enumerate(spec.dataset.sources):
            if source.credentials_secret:
                field = f"spec.dataset.sources[{index}].credentialsSecret"
                yield from _s3_keys(field, source.credentials_secret)
    if stage in ASKING_STAGES and (secret := spec.teacher.endpoint.api_key_secret):
        yield SecretUse("spec.teacher.endpoint.apiKeySecret", secret.name, secret.key)


def _s3_keys(field: str, name: str) -> Iterator[SecretUse]:
    yield SecretUse(field, name, S3_ACCESS_KEY)
    yield SecretUse(field, name, S3_SECRET_KEY)
    yield SecretUse(field, name, S3_SESSION_TOKEN, optional=True)


def _selector(use: SecretUse) -> Manifest:
    selector: Manifest = {"name": use.name, "key": use.key}
    return selector | {"optional": True} if use.optional else selector

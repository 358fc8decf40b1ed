"""The profile in effect: a DistillationProfile over built-in defaults, and what of a job it does not allow. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import translate
from urllib.parse import urlsplit

from distillery.api.base import WireModel
from distillery.api.v1alpha1.common import Storage, Workers, gpus_of_worker, seconds_of
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.distillation_profile import (
    Allowed,
    Ceilings,
    DistillationProfile,
    Pods,
    ProfileSpec,
    PullPolicy,
)
from distillery.errors import Problem

MAX_SHOWN_PATTERNS = 8


class BuiltinProfile(WireModel):
    """What the operator's own settings say, for everything that a profile leaves open."""

    image: str
    """Image of head and workers."""
    image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: list[str] = []
    ray_version: str | None = None


class Profile(WireModel):
    """The settings in effect, as the snapshot of a generation keeps them. Times are in seconds."""

    version: int = 1
    name: str | None = None
    """Of the DistillationProfile; None: built-in defaults only."""
    image: str
    image_pull_policy: PullPolicy = "IfNotPresent"
    image_pull_secrets: list[str] = []
    ray_version: str | None = None
    service_account_name: str | None = None
    storage: Storage | None = None
    queue_labels: dict[str, str] = {}
    checkpoint_window_seconds: float = 120.0
    pending_deadline_seconds: float = 900.0
    heartbeat_deadline_seconds: float = 300.0
    pods: Pods = Pods()
    ceilings: Ceilings = Ceilings()
    allowed: Allowed = Allowed()


def resolve(profile: DistillationProfile | None, builtin: BuiltinProfile) -> Profile:
    """Return the settings in effect under a profile, or without one."""
    spec = profile.spec if profile is not None else ProfileSpec()
    return Profile(
        name=profile.metadata.name if profile is not None else None,
        image=spec.image or builtin.image,
        image_pull_policy=spec.image_pull_policy or builtin.image_pull_policy,
        image_pull_secrets=[str(name) for name in spec.image_pull_secrets] or builtin.image_pull_secrets,
        ray_version=spec.ray_version or builtin.ray_version,
        service_account_name=spec.service_account_name,
        storage=spec.storage,
        queue_labels=spec.queue_labels,
        checkpoint_window_seconds=seconds_of(spec.checkpoint_window),
        pending_deadline_seconds=seconds_of(spec.pending_deadline),
        heartbeat_deadline_seconds=seconds_of(spec.heartbeat_deadline),
        pods=spec.pods,
        ceilings=spec.ceilings,
        allowed=spec.allowed,
    )


def effective_storage(spec: DistillationJobSpec, profile: Profile) -> Storage | None:
    """Return where a job's artifacts lie: its own storage, else the profile's; None if neither says."""
    return spec.storage or profile.storage


def violations(spec: DistillationJobSpec, profile: Profile) -> list[Problem]:
    """Return what of a job the profile does not allow, each naming the rule, the value and the repair."""
    return [
        *_too_many_workers(spec, profile),
        *_too_many_gpus(spec, profile),
        *_too_costly(spec, profile),
        *_too_many_rows(spec, profile),
        *_foreign_teacher(spec, profile),
        *_foreign_base(spec, profile),
    ]


def _rule(profile: Profile, field: str) -> str:
    return (
        f"spec.{field} of profile {profile.name}" if profile.name else f"spec.{field} of the built-in profile"
    )


def _sections(spec: DistillationJobSpec) -> Iterator[tuple[str, Workers]]:
    for path, workers in (
        ("spec.teacher.workers", spec.teacher.workers),
        ("spec.student.workers", spec.student.workers),
    ):
        if workers is not None:
            yield path, workers


def _too_many_workers(spec: DistillationJobSpec, profile: Profile) -> Iterator[Problem]:
    most = profile.ceilings.workers
    for path, workers in _sections(spec):
        if most is not None and workers.replicas > most:
            message = f"{workers.replicas} is more than {_rule(profile, 'ceilings.workers')} ({most}) allows"
            yield Problem(f"{path}.replicas", message, f"write at most {most}")


def _too_many_gpus(spec: DistillationJobSpec, profile: Profile) -> Iterator[Problem]:
    most = profile.ceilings.gpus
    for path, workers in _sections(spec):
        each = gpus_of_worker(workers.resources)
        if most is not None and workers.replicas * each > most:
            rule = _rule(profile, "ceilings.gpus")
            message = f"{workers.replicas} × {each} GPUs are more than {rule} ({most}) allows"
            fitting = most // each
            repair = f"write replicas: {fitting}" if fitting else f"ask for at most {most} GPUs per worker"
            yield Problem(path, message, repair if most else "remove the GPUs")


def _too_costly(spec: DistillationJobSpec, profile: Profile) -> Iterator[Problem]:
    most, wanted = profile.ceilings.max_cost, spec.budget.max_cost
    if most is None:
        return
    rule, path = _rule(profile, "ceilings.maxCost"), "spec.budget.maxCost"
    repair = f'write maxCost: "{_amount(most)}" or less'
    if wanted is None:
        yield Problem(path, f"is required by {rule} ({_amount(most)})", repair)
    elif wanted > most:
        message = f"{_amount(wanted)} is more than {rule} ({_amount(most)}) allows"
        yield Problem(path, message, repair)


def _amount(money: Decimal) -> str:
    return format(money, "f")


def _too_many_rows(spec: DistillationJobSpec, profile: Profile) -> Iterator[Problem]:
    most, wanted = profile.ceilings.rows, spec.dataset.limit
    if most is None:
        return
    rule, path = _rule(profile, "ceilings.rows"), "spec.dataset.limit"
    if wanted is None:
        yield Problem(path, f"is required by {rule} ({most:,})", f"write limit: {most} or less")
    elif wanted > most:
        message = f"{wanted:,} is more than {rule} ({most:,}) allows"
        yield Problem(path, message, f"write limit: {most} or less")


def _foreign_teacher(spec: DistillationJobSpec, profile: Profile) -> Iterator[Problem]:
    patterns = profile.allowed.teacher_hosts
    host = urlsplit(spec.teacher.endpoint.url).hostname or ""
    if patterns is not None and not _matches(host, [pattern.lower() for pattern in patterns]):
        message = f"the host {host!r} is not allowed by {_rule(profile, 'allowed.teacherHosts')}"
        yield Problem("spec.teacher.endpoint.url", message, f"use one of: {_listed(patterns)}")


def _foreign_base(spec: DistillationJobSpec, profile: Profile) -> Iterator[Problem]:
    patterns = profile.allowed.base_models
    for field, model in (("hub", spec.student.base.hub), ("uri", spec.student.base.uri)):
        if patterns is not None and model is not None and not _matches(model, patterns):
            message = f"{model!r} is not allowed by {_rule(profile, 'allowed.baseModels')}"
            yield Problem(f"spec.student.base.{field}", message, f"use one of: {_listed(patterns)}")


def _matches(text: str, patterns: list[str]) -> bool:
    """Return whether a pattern fits. Nothing that climbs out of a folder fits: `*` would let it go anywhere."""
    return ".." not in text.split("/") and any(re.match(translate(pattern), text) for pattern in patterns)


def _listed(patterns: list[str]) -> str:
    more = ["…"] if len(patterns) > MAX_SHOWN_PATTERNS else []
    return ", ".join([*patterns[:MAX_SHOWN_PATTERNS], *more])

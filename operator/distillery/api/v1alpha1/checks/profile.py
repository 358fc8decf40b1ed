"""Contradictions in a DistillationProfile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from distillery.api.paths import format_path
from distillery.api.v1alpha1.checks.places import rest_of_address, server_of_files, wildcards
from distillery.api.v1alpha1.common import seconds_of
from distillery.api.v1alpha1.distillation_profile import Pods, ProfileSpec
from distillery.errors import Problem

STORAGE = "spec.storage"
MIN_DEADLINE_SECONDS = 20
"""Two heartbeats."""


def storage_is_wrong(spec: ProfileSpec) -> Iterator[Problem]:
    """The default storage has what a job's own must not have either."""
    if spec.storage is not None:
        yield from server_of_files(STORAGE, spec.storage)
        yield from wildcards(f"{STORAGE}.uri", spec.storage.uri)
        yield from rest_of_address(f"{STORAGE}.endpoint", spec.storage.endpoint)


def deadlines_are_too_short(spec: ProfileSpec) -> Iterator[Problem]:
    """No attempt could live."""
    deadlines = (("pendingDeadline", spec.pending_deadline), ("heartbeatDeadline", spec.heartbeat_deadline))
    for name, duration in deadlines:
        if seconds_of(duration) < MIN_DEADLINE_SECONDS:
            message = f"{duration} is too short: every attempt would be given up"
            yield Problem(f"spec.{name}", message, f"write at least {MIN_DEADLINE_SECONDS}s")


def templates_are_none(spec: ProfileSpec) -> Iterator[Problem]:
    """A pod template holds what a PodTemplateSpec has not, or a container without a name."""
    for path, template in _templates(spec.pods):
        for key, allowed in (("", ("metadata", "spec")), ("metadata", ("labels", "annotations"))):
            part = template.get(key, {}) if key else template
            where = f"{path}.{key}" if key else path
            if not isinstance(part, dict):
                yield Problem(where, "is no mapping", f"fields: {', '.join(allowed)}")
                continue
            for name in part.keys() - set(allowed):
                place = f"{where}.{format_path((name,))}"
                yield Problem(place, "has no effect in a pod template", f"allowed here: {', '.join(allowed)}")
        yield from _spec_problems(f"{path}.spec", template.get("spec", {}))


def _spec_problems(path: str, part: Any) -> Iterator[Problem]:
    if not isinstance(part, dict):
        yield Problem(path, "is no mapping", "write the fields of a PodSpec")
        return
    for key in ("containers", "initContainers", "volumes"):
        items = part.get(key, [])
        for index, item in enumerate(items if isinstance(items, list) else [None]):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                message = "is no list of items that have a name"
                repair = f"write {key}: [{{name: …}}]; our container is ray-head or ray-worker"
                yield Problem(f"{path}.{key}[{index}]", message, repair)


def _templates(pods: Pods) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in Pods.model_fields:
        for kind in ("head", "worker"):
            template = getattr(getattr(pods, stage), kind)
            if template is not None:
                yield f"spec.pods.{stage}.{kind}", template


PROFILE_CHECKS: tuple[Callable[[ProfileSpec], Iterator[Problem]], ...] = (
    storage_is_wrong,
    deadlines_are_too_short,
    templates_are_none,
)
"""Every rule, in the order of the spec."""

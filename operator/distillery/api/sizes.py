"""Worker pods that are smaller than Ray needs: worth a warning, never a refusal, since a quiet node may do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from distillery.api.quantities import parse_quantity
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

LEAST_CPU = "250m"
"""Request of CPU with which Ray starts before KubeRay's probes give up, even beside busy neighbours; it is the default
of teacher workers. With 100m, requested and limited, pods were replaced every minute."""
LEAST_CPU_LIMIT = "1"
"""Starting Ray takes some ten seconds of one core. A container that is throttled to less needs minutes for it."""
LEAST_MEMORY = "1Gi"
"""Ray's own processes take about 700 MiB, its object store at least 96 MiB, and the stage's process comes on top."""


def shortage(requests: Mapping[str, str], limits: Mapping[str, str]) -> str:
    """Say what of a Ray container's resources is less than Ray needs, or nothing."""
    checks = (
        ("request", "cpu", requests, LEAST_CPU, "CPU"),
        ("limit", "cpu", limits, LEAST_CPU_LIMIT, "CPU"),
        ("limit", "memory", limits, LEAST_MEMORY, "of memory"),
    )
    for kind, name, given, least, unit in checks:
        if _less(given.get(name), least):
            return f"its {kind} of {given[name]} {unit} is less than Ray needs ({least})"
    return ""


def small_workers(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Yield a warning for each amount that is likely to be too small."""
    for name, workers in (("teacher", spec.teacher.workers), ("student", spec.student.workers)):
        if workers is None:
            continue
        path, limits = f"spec.{name}.workers", workers.limits or {}
        if _less(cpu := workers.resources.get("cpu"), LEAST_CPU):
            message = f"{cpu} is little: on a busy node Ray does not start before its probes give up"
            yield Problem(f"{path}.resources.cpu", message, f"write at least {LEAST_CPU}")
        if _less(cpu := limits.get("cpu"), LEAST_CPU_LIMIT):
            message = f"{cpu} is little: Ray is throttled, and does not start before its probes give up"
            yield Problem(f"{path}.limits.cpu", message, f"write at least {LEAST_CPU_LIMIT}, or leave it out")
        field = "limits" if "memory" in limits else "resources"
        if _less(memory := getattr(workers, field).get("memory"), LEAST_MEMORY):
            message = f"{memory} is little: Ray's own processes take most of it"
            yield Problem(f"{path}.{field}.memory", message, f"write at least {LEAST_MEMORY}")


def _less(amount: str | None, least: str) -> bool:
    try:
        return amount is not None and parse_quantity(amount) < parse_quantity(least)
    except ValueError:
        return False  # what another program wrote

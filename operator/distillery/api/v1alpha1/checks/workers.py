"""Contradictions in the pods that share the work of a stage."""

from __future__ import annotations

from collections.abc import Iterator

from distillery.api.paths import format_path
from distillery.api.quantities import parse_quantity
from distillery.api.v1alpha1.common import Workers
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

COMPUTE = ("cpu", "memory", "ephemeral-storage")
"""The resources without a domain that a container can ask for."""
LIMITED = ("cpu", "memory")
"""What may be limited apart from what is requested; of everything else a pod gets what it asks for."""


def _workers(spec: DistillationJobSpec) -> Iterator[tuple[str, Workers]]:
    """Yield the workers of each stage that has some, with their path."""
    for name, workers in (("teacher", spec.teacher.workers), ("student", spec.student.workers)):
        if workers is not None:
            yield f"spec.{name}.workers", workers


def resources_do_not_exist(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A resource without a domain is none of Kubernetes' own, so no pod could ask for it."""
    for path, workers in _workers(spec):
        for name in workers.resources:
            if "/" not in name and name not in COMPUTE and not name.startswith("hugepages-"):
                meant = f"nvidia.com/{name}" if name == "gpu" else ", ".join((*COMPUTE, "nvidia.com/gpu"))
                yield Problem(_named(path, name), "is no resource of a container", f"write {meant}")


def devices_are_divided(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A device such as a GPU is asked for in parts or with a unit."""
    for path, workers in _workers(spec):
        for name, amount in workers.resources.items():
            if "/" in name and not amount.isdecimal():
                message = f"{amount!r} is no whole number, and devices are not divided"
                yield Problem(_named(path, name), message, "write a whole number, for example 1")


def limits_name_others(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Only CPU and memory may be used beyond what is requested."""
    for path, workers in _workers(spec):
        for name in workers.limits or {}:
            if name not in LIMITED:
                message = "has no limit of its own: a worker gets as much as it asks for"
                yield Problem(_named(path, name, "limits"), message, "write it under resources alone")


def limits_are_below_requests(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The API server refuses a pod that may use less than it asks for."""
    for path, workers in _workers(spec):
        for name, limit in (workers.limits or {}).items():
            request = workers.resources.get(name)
            if request is not None and parse_quantity(limit) < parse_quantity(request):
                message = f"{limit} is less than resources.{format_path((name,))} ({request})"
                yield Problem(
                    _named(path, name, "limits"), message, f"write at least {request}, or ask for less"
                )


def workers_outnumber_rows(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A step has fewer rows than there are workers to share them."""
    workers, rows = spec.student.workers, spec.student.batch_size
    if workers is not None and workers.replicas > rows:
        message = f"{workers.replicas} workers cannot share the {rows} rows of student.batchSize"
        yield Problem("spec.student.workers.replicas", message, f"write at most {rows}, or raise batchSize")


def _named(path: str, resource: str, field: str = "resources") -> str:
    return f"{path}.{field}.{format_path((resource,))}"

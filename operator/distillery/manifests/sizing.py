"""How large an attempt is: worker pods, GPUs, CPU and memory of each container, what Ray is told of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING
from typing import Final, Literal

from distillery.api.quantities import parse_quantity
from distillery.api.v1alpha1.common import Workers, gpus_of_worker
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.stages.stage import StageName

Role = Literal["head", "worker"]
Quantities = dict[str, str]
"""Resource name → quantity, as in Kubernetes."""
Resources = dict[str, Quantities]
"""`requests` and `limits` of a container."""

# CPU has no limit: throttling a head makes KubeRay's status checks fail, and an idle neighbour's CPU is free.
HEAD: Final[Resources] = {"requests": {"cpu": "500m", "memory": "1536Mi"}, "limits": {"memory": "4Gi"}}
WORKERS: Final[Mapping[StageName, Resources]] = {
    "teacher": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    "student": {"requests": {"cpu": "500m", "memory": "1536Mi"}, "limits": {"memory": "4Gi"}},
}

MIB: Final = 2**20
OBJECT_STORE: Final = (96 * MIB, 2048 * MIB)
"""Least and most bytes of Ray's object store: handles and small messages pass through it; Ray wants 75 MiB."""


def workers_in(spec: DistillationJobSpec, stage: StageName) -> Workers | None:
    """Return the section about the worker pods of a stage, if it has one."""
    match stage:
        case "teacher":
            return spec.teacher.workers
        case "student":
            return spec.student.workers
        case _:
            return None


def workers_of(spec: DistillationJobSpec, stage: StageName) -> int:
    """Return how many worker pods a stage has; with none, its head does the work."""
    workers = workers_in(spec, stage)
    return workers.replicas if workers is not None else 0


def wanted_resources(spec: DistillationJobSpec, stage: StageName) -> Resources:
    """Return what the spec says about each worker pod of a stage.

    CPU is only requested unless the spec limits it, since what neighbours leave idle is free. Everything else is also
    limited to what is requested: memory beyond it is somebody else's, and devices are never shared.
    """
    workers = workers_in(spec, stage)
    if workers is None:
        return {"requests": {}, "limits": {}}
    limits = {name: amount for name, amount in workers.resources.items() if name != "cpu"}
    return {"requests": dict(workers.resources), "limits": limits | (workers.limits or {})}


def cores_of(spec: DistillationJobSpec, stage: StageName) -> int | None:
    """Return with how many cores a worker should count: what it asks for, unless a limit says it.

    Without a limit a process sees all cores of its node, and would start as many threads on the share of a few.
    """
    workers = workers_in(spec, stage)
    if workers is None or "cpu" not in workers.resources or "cpu" in (workers.limits or {}):
        return None
    return _whole(workers.resources["cpu"])


def gpus_in(rayjob: Mapping[str, object]) -> int:
    """Return how many GPUs a rendered RayJob holds while its cluster lives, those of the head included."""
    cluster = rayjob["spec"]["rayClusterSpec"]  # type: ignore[index]
    groups = [(1, cluster["headGroupSpec"])]
    groups += [(group["replicas"], group) for group in cluster["workerGroupSpecs"]]
    return sum(
        replicas * gpus_of_worker(group["template"]["spec"]["containers"][0]["resources"]["limits"])
        for replicas, group in groups
    )


def fit_resources(defaults: Resources, *layers: Mapping[str, Mapping[str, object]]) -> Resources:
    """Return the resources of a container: later layers win, and what was said before gives way to them.

    A request is lowered to a limit that a later layer sets, a limit is raised to a later request; in one layer the
    request counts. Extended resources are requested and limited alike.
    """
    given: Resources = {"requests": {}, "limits": {}}
    for layer in layers:
        said = {
            part: {name: str(value) for name, value in layer.get(part, {}).items()}
            for part in ("requests", "limits")
        }
        _give_way(given, said)
    for name in [*given["requests"], *given["limits"]]:
        if _is_extended(name):
            amount = given["limits"].get(name) or given["requests"][name]
            given["requests"][name] = given["limits"][name] = amount
    requests = dict(given["requests"])
    for name, default in defaults["requests"].items():
        limit = given["limits"].get(name, default)
        requests.setdefault(name, min(default, limit, key=parse_quantity))
    limits = {
        name: max(value, requests.get(name, "0"), key=parse_quantity)
        for name, value in (defaults["limits"] | given["limits"]).items()
    }
    return {"requests": requests, "limits": limits}


def _give_way(given: Resources, said: Resources) -> None:
    """Put a layer over what was said before."""
    for name, limit in said["limits"].items():
        before = given["requests"].get(name)
        if name not in said["requests"] and before is not None:
            given["requests"][name] = min(before, limit, key=parse_quantity)
    for part, quantities in given.items():
        quantities.update(said[part])


def ray_start_params(role: Role, resources: Resources, *, works: bool) -> dict[str, str]:
    """Return what `ray start` is told; GPUs are added by KubeRay from the limits.

    A head that does not work offers no CPU, so that Ray places actors on the worker pods only. The others offer what
    is requested: KubeRay would take the limit, and Ray starts a process for each of its CPUs beforehand.
    """
    cpus = _whole(resources["requests"]["cpu"])
    store = memory_of(resources) // 8
    least, most = OBJECT_STORE
    params = {
        "num-cpus": str(cpus if works else 0),
        "object-store-memory": str(min(max(store, least), most)),
    }
    return params | ({"dashboard-host": "0.0.0.0"} if role == "head" else {})


def shared_memory(resources: Resources) -> str:
    """Return the size of /dev/shm: half the memory, for Ray's object store and exchange between GPU processes."""
    return f"{max(memory_of(resources) // 2 // MIB, 128)}Mi"


def memory_of(resources: Resources) -> int:
    """Return the bytes of memory that a container may use."""
    return int(parse_quantity(resources["limits"]["memory"]))


def _whole(cpu: str) -> int:
    """Return an amount of CPU in whole cores, at least one."""
    return max(1, int(parse_quantity(cpu).to_integral_value(ROUND_CEILING)))


def _is_extended(name: str) -> bool:
    """Whether a resource cannot be overcommitted, so that its request must equal its limit."""
    return "/" in name or name.startswith("hugepages-")

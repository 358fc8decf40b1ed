"""How large an attempt is: worker pods, GPUs, CPU and memory of each container, what Ray is told of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final, Literal

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
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][-+]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)")
_DECIMAL_EXPONENTS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = "KMGTPE"


def workers_of(spec: DistillationJobSpec, stage: StageName) -> int:
    """Return how many worker pods a stage has; with none, its head does the work."""
    workers = _workers(spec, stage)
    return workers.replicas if workers is not None else 0


def gpus_of(spec: DistillationJobSpec, stage: StageName) -> int:
    """Return how many GPUs the spec asks for in a stage: replicas × GPUs of each."""
    workers = _workers(spec, stage)
    return workers.replicas * gpus_of_worker(workers.resources) if workers is not None else 0


def wanted_resources(spec: DistillationJobSpec, stage: StageName) -> Resources:
    """Return what the spec says about each worker pod of a stage.

    It is both requested and limited, so that a worker gets what the spec says, no more and no less.
    """
    workers = _workers(spec, stage)
    wanted: Quantities = dict(workers.resources) if workers is not None else {}
    return {"requests": wanted, "limits": wanted}


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
    """Return the resources of a container: later layers win, and defaults give way where they contradict.

    A default request is lowered to a limit that a layer sets, a limit is raised to the request. Extended
    resources are requested and limited alike.
    """
    given: Resources = {"requests": {}, "limits": {}}
    for layer in layers:
        for part, quantities in given.items():
            quantities.update({name: str(value) for name, value in layer.get(part, {}).items()})
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


def ray_start_params(role: Role, resources: Resources, *, works: bool) -> dict[str, str]:
    """Return what `ray start` is told; GPUs are added by KubeRay from the limits.

    A head that does not work offers no CPU, so that Ray places actors on the worker pods only.
    """
    cpu = resources["limits"].get("cpu") or resources["requests"]["cpu"]
    cpus = max(1, int(parse_quantity(cpu).to_integral_value(ROUND_CEILING)))
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


def parse_quantity(text: str) -> Decimal:
    """Return the value of a Kubernetes quantity such as 500m, 1.5Gi or 2e3. Raises: ValueError."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 2 or 1.5Gi")
    number, exponent, suffix = match.groups()
    if exponent:
        return Decimal(number + exponent)
    if suffix and suffix.endswith("i"):
        return Decimal(number) * Decimal(1024) ** (_BINARY.index(suffix[0]) + 1)
    return Decimal(number).scaleb(_DECIMAL_EXPONENTS.get(suffix or "", 0))


def _workers(spec: DistillationJobSpec, stage: StageName) -> Workers | None:
    match stage:
        case "teacher":
            return spec.teacher.workers
        case "student":
            return spec.student.workers
        case _:
            return None


def _is_extended(name: str) -> bool:
    """Whether a resource cannot be overcommitted, so that its request must equal its limit."""
    return "/" in name or name.startswith("hugepages-")

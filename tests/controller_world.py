"""A small world for the operator: the API in memory, a simulated KubeRay, a clock, and an operator that may crash."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from typing import Any

from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.controller import handlers
from distillery.controller.cache import Cache
from distillery.controller.handlers import PROJECTIONS
from distillery.controller.reconcile import Reconciler
from distillery.errors import TransientError
from distillery.kube.errors import Stale
from distillery.kube.resources import DISTILLATION_JOBS, PODS, RAY_CLUSTERS, RAY_JOBS, Resource
from distillery.manifests.metadata import JOB_UID_LABEL
from distillery.planning.children import Child, ClusterView, PodView, RayJobView
from distillery.planning.profile import BuiltinProfile
from distillery.planning.record import AttemptRecord
from distillery.stages.report import Report
from memory_api import MemoryApi
from simulated_kuberay import SimulatedKubeRay, delete

NAMESPACE, NAME = "support", "ticket-routing"
MANIFEST = """
apiVersion: distillery.dev/v1alpha1
kind: DistillationJob
metadata: {name: ticket-routing, namespace: support}
spec:
  storage: {uri: "s3://models/distillery", endpoint: "http://s3:9000", credentialsSecret: s3}
  task: {output: {format: label, labels: [billing, login]}}
  dataset:
    sources: [{uri: "s3://logs/tickets.jsonl"}]
    input: "{text}"
  teacher:
    model: large
    endpoint: {url: "http://teacher:8000/v1", apiKeySecret: {name: teacher, key: api-key}}
    pricing: {promptPerMillion: "1", completionPerMillion: "1"}
  student:
    base:
      architecture:
        {model_type: llama, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 64}
      tokenizer: {train: {vocabSize: 500}}
  evaluation: {gates: {retention: {min: 0.9, basis: teacher}}}
  release: {name: router}
"""


def as_watched(resource: Resource) -> Callable[[dict[str, Any]], Child]:
    """Return how the operator projects an object of which a watch tells: only what it wants gets that far."""
    return lambda item: PROJECTIONS[resource](handlers.VIEWS[resource](item))


VIEWS: tuple[tuple[Resource, Any, Any], ...] = (
    (RAY_JOBS, RayJobView, as_watched(RAY_JOBS)),
    (RAY_CLUSTERS, ClusterView, as_watched(RAY_CLUSTERS)),
    (PODS, PodView, as_watched(PODS)),
)


class Crash(BaseException):
    """The operator's process ends here."""


class Faulty:
    """The API as an operator sees it that crashes or is refused at its `nth` write. Reads pass through.

    `listed` are the kinds of which it has listed objects.
    """

    def __init__(self, api: MemoryApi, nth: int | None, fault: str) -> None:
        self.listed: list[str] = []
        self._api = api
        self._left = nth
        self._fault = fault

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._api, verb)
        if verb not in ("create", "replace", "replace_status", "merge", "delete"):
            return method

        async def write(*args: Any, **kwargs: Any) -> Any:
            if self._left is not None:
                self._left -= 1
            if self._left != 0:
                return await method(*args, **kwargs)
            self._left = None
            match self._fault:
                case "crash before":
                    raise Crash
                case "crash after":
                    await method(*args, **kwargs)
                    raise Crash
                case "unavailable":
                    raise TransientError("503")
                case "lost answer":
                    await method(*args, **kwargs)
                    raise TransientError("the answer was lost")
                case "conflict":
                    raise Stale("409")
            raise AssertionError(self._fault)

        return write

    def scan(self, resource: Resource, *args: Any, **kwargs: Any) -> AsyncGenerator[list[Any], None]:
        """List objects page by page, and remember it."""
        self.listed.append(resource.plural)
        return self._api.scan(resource, *args, **kwargs)

    async def list(self, resource: Resource, *args: Any, **kwargs: Any) -> None:
        """Fail: the operator holds no list of whole objects."""
        raise AssertionError(f"{resource.plural} are held as a whole")


class Told:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.warnings: list[str] = []
        self.statuses: list[Status] = []
        self.ended: list[str] = []

    def attempts_ended(self, entries: Iterable[AttemptRecord], reports: Mapping[str, Report]) -> None:
        self.ended += [entry.key for entry in entries if entry.ended_at is not None]

    async def tell(
        self, document: dict[str, Any], before: Status, after: Status, complaints: Sequence[str]
    ) -> None:
        self.complaints += complaints
        self.statuses.append(after)

    async def warn(self, document: dict[str, Any], reason: str, message: str) -> None:
        self.warnings.append(f"{reason}: {message}")


class World:
    """One namespace with one job and operators over it; time passes only in `turn`."""

    def __init__(self, manifest: str = MANIFEST) -> None:
        self.api = MemoryApi()
        self.now = 1_793_800_000.0
        self.ahead = 0.0
        """By so much the operator's clock is ahead of everybody else's."""
        self.kuberay = SimulatedKubeRay(self.api, lambda: self.now)
        self.told = Told()
        self.manifest = load_yaml(manifest, "job.yaml")
        self.cache = Cache()
        self.operator = self.start_operator()
        self.crashes = 0

    def start_operator(self, nth: int | None = None, fault: str = "crash before") -> Reconciler:
        """Start an operator that forgets everything but what the API holds."""
        self.cache = Cache()
        builtin = BuiltinProfile(image="distillery/worker:test")
        self.kube = Faulty(self.api, nth, fault)
        kube: Any = self.kube
        telling: Any = self.told
        self.operator = Reconciler(kube, self.cache, telling, builtin, lambda: self.now + self.ahead)
        return self.operator

    async def apply(self, **spec: Any) -> None:
        """Create the job, or edit fields of its spec."""
        found = await self.api.find(DISTILLATION_JOBS, NAME, NAMESPACE)
        if found is None:
            await self.api.create(
                DISTILLATION_JOBS, {**self.manifest, "spec": {**self.manifest["spec"], **spec}}
            )
        else:
            await self.api.replace(DISTILLATION_JOBS, {**found, "spec": {**found["spec"], **spec}})

    async def annotate(self, **annotations: str) -> None:
        """Set control annotations."""
        keys = {f"distillery.dev/{name.replace('_', '-')}": value for name, value in annotations.items()}
        await self.api.merge(DISTILLATION_JOBS, NAME, {"metadata": {"annotations": keys}}, NAMESPACE)

    async def look(self) -> None:
        """Let the operator see the cluster."""
        for resource, kind, project in VIEWS:
            mark = self.cache.mark()
            listed = [item for item in await self.api.list(resource) if is_watched(item)]
            self.cache.relist(kind, [project(item) for item in listed], mark)

    async def turn(self, seconds: float = 1.0) -> None:
        """Let time pass: KubeRay does a step, the operator looks once; a crash starts it anew."""
        self.now += seconds
        await self.kuberay.tick()
        await self.look()
        try:
            await self.operator.reconcile(NAMESPACE, NAME)
        except Crash:
            self.crashes += 1
            self.start_operator()
        except (TransientError, Stale):
            return

    async def run(self, until: Callable[[Status], bool], turns: int = 200) -> Status:
        """Turn until the status says so. Raises: AssertionError if it never does."""
        for _ in range(turns):
            await self.turn()
            status = await self.status()
            if until(status):
                return status
        raise AssertionError(f"not reached within {turns} turns: {await self.status()}")

    async def remove(self, resource: Resource, name: str, namespace: str | None = NAMESPACE) -> None:
        """Delete an object as somebody would with kubectl."""
        await delete(self.api, resource, await self.api.get(resource, name, namespace))

    async def status(self) -> Status:
        """Return the stored status."""
        found = await self.api.find(DISTILLATION_JOBS, NAME, NAMESPACE)
        return Status.model_validate(copy.deepcopy((found or {}).get("status") or {}))


def is_watched(item: dict[str, Any]) -> bool:
    """Say whether the operator's watches show an object, by their label selector."""
    return JOB_UID_LABEL in (item["metadata"].get("labels") or {})


def ended(status: Status) -> bool:
    """Say whether a job has come to an end that its spec's generation shares."""
    return status.phase in ("Succeeded", "GatesFailed", "Failed", "Stopped")

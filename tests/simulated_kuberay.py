"""Plays KubeRay and the worker for RayJobs of ours: clusters and pods come and go, stages commit, reports are written.

It speaks to the API only, so it works on the API in memory and on a real API server. What it never does is work:
a stage's output digest follows from its identity.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from distillery.errors import DistilleryError
from distillery.kube.errors import Exists, NotFound, Stale
from distillery.kube.resources import CONFIG_MAPS, PODS, RAY_CLUSTERS, RAY_JOBS, Resource
from distillery.manifests.configmap import ASSIGNMENT_KEY
from distillery.stages.assignment import Assignment
from distillery.stages.identity import stage_identity
from distillery.stages.report import Outcome, Report

HEAD = "ray.io/node-type"
SOURCES = "pinned-sources"
VERDICT = {"verdict": "passed", "releaseVersion": "0123456789ab", "retention": 0.97, "interval": [0.95, 0.99]}


@dataclass
class SimulatedKubeRay:
    """Moves every RayJob one step further per `tick`. `commits` counts how often each identity was committed."""

    kube: Any
    now: Callable[[], float]
    namespace: str | None = None
    store: dict[str, Outcome] = field(default_factory=dict)
    commits: dict[str, int] = field(default_factory=dict)
    fail: Callable[[Assignment], Report | None] = field(default=lambda assignment: None)
    """Says how a stage ends instead of committing."""
    hold: Callable[[Assignment], bool] = field(default=lambda assignment: False)
    """Says whether a stage goes on working."""
    refuse: Callable[[str], str] = field(default=lambda role: "")
    """Says why the API server refuses a head or worker pod; empty: it does not."""
    replaces: bool = False
    """Whether pods that are gone while a stage works are created anew."""
    most_live: dict[tuple[str, str], int] = field(default_factory=dict)
    """The most RayClusters of one (job uid, stage) that were ever there at once."""
    _tries: int = 0

    async def tick(self) -> None:
        jobs = await self.kube.list(RAY_JOBS, self.namespace)
        await self._collect(jobs)
        for job in jobs:
            if not job["metadata"].get("deletionTimestamp"):
                await self.advance(job)

    async def _collect(self, jobs: list[dict[str, Any]]) -> None:
        """Play the garbage collector: what a RayJob controls goes with it, and so do pods with their cluster."""
        uids = {job["metadata"]["uid"] for job in jobs}
        counts: dict[tuple[str, str], int] = {}
        for resource in (RAY_CLUSTERS, PODS):
            for child in await self.kube.list(resource, self.namespace):
                metadata = child["metadata"]
                owners = metadata.get("ownerReferences") or []
                if owners and not any(owner["uid"] in uids for owner in owners):
                    await delete(self.kube, resource, child)
                    continue
                uids.add(metadata["uid"])
                if resource is RAY_CLUSTERS and owners:
                    key = _stage_of(child)
                    counts[key] = counts.get(key, 0) + 1
        for key, count in counts.items():
            self.most_live[key] = max(count, self.most_live.get(key, 0))

    async def advance(self, job: dict[str, Any]) -> None:
        """Move one RayJob one step further."""
        state = (job.get("status") or {}).get("jobDeploymentStatus", "")
        match state:
            case "":
                await self._start(job)
            case "Initializing":
                if await self._pods(job):
                    await self._set(job, "Running", "RUNNING")
            case "Running":
                if self.replaces:
                    await self._pods(job)
                await self._work(job)
            case "Complete":
                await self.shut_down(job)
            case _:
                return

    async def _start(self, job: dict[str, Any]) -> None:
        name = f"{job['metadata']['name']}-c"
        await self._made(RAY_CLUSTERS, job, name, spec=job["spec"]["rayClusterSpec"])
        await self._pods(job)
        await self._set(job, "Initializing", "")

    async def _made(
        self, resource: Resource, owner: dict[str, Any], name: str, role: str = "", **more: Any
    ) -> dict[str, Any]:
        """Create what another object controls, as KubeRay does: with its labels."""
        metadata = owner["metadata"]
        reference = {key: owner[key] for key in ("apiVersion", "kind")}
        reference |= {key: metadata[key] for key in ("name", "uid")}
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": {**(metadata.get("labels") or {}), **({HEAD: role} if role else {})},
                "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
                "creationTimestamp": self._timestamp(),
            },
            **more,
        }
        try:
            return await self.kube.create(resource, body)
        except Exists:
            return await self.kube.get(resource, name, metadata["namespace"])

    async def _pods(self, job: dict[str, Any]) -> bool:
        """Create the pods that are missing, up to the first that is refused. Returns: whether all are there."""
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        cluster = await self.kube.find(RAY_CLUSTERS, f"{name}-c", namespace)
        if cluster is None:
            return True
        role, refused, failure = "", "", ""
        for role, pod, template in _pods_of(job):
            if await self.kube.find(PODS, pod, namespace) is not None:
                continue
            refused, failure = self.refuse(role), f"FailedCreate{role.capitalize()}Pod"
            if refused:
                break
            await self._made(PODS, cluster, pod, role, spec=template["spec"])
        if refused or cluster.get("status"):
            await self._tell(cluster, role, failure, refused)
        return not refused

    async def _tell(self, cluster: dict[str, Any], role: str, reason: str, words: str) -> None:
        """Write the condition as KubeRay does: each time with the name of another pod."""
        self._tries += 1
        pod = f"{cluster['metadata']['name']}-{role}-{self._tries:05x}"
        condition = {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": reason,
            "message": f'{reason}\npods "{pod}" is forbidden: {words}',
            "lastTransitionTime": self._timestamp(),
        }
        changed = {**cluster, "status": {"conditions": [condition] if words else []}}
        with suppress(Stale, NotFound):
            await self.kube.replace_status(RAY_CLUSTERS, changed)

    async def _work(self, job: dict[str, Any]) -> None:
        metadata = job["metadata"]
        try:
            frozen = await self.kube.get(CONFIG_MAPS, metadata["name"], metadata["namespace"])
        except NotFound:
            return  # the pod waits for its volume
        text = (frozen.get("data") or {}).get(ASSIGNMENT_KEY)
        if text is None:
            return  # a RayJob of somebody else, which we do not run
        assignment = Assignment.model_validate_json(text)
        record = await self.kube.find(CONFIG_MAPS, assignment.record, assignment.namespace)
        entry = json.loads((record or {}).get("data", {}).get(assignment.key, "{}"))
        if entry.get("control") == "stop":
            await self._report(assignment, state="stopped")
        elif self.hold(assignment):
            await self._report(assignment, progress={"done": 1, "total": 10})
            return
        elif (failed := self.fail(assignment)) is not None:
            await self._report(assignment, state=failed.state, failure=failed.failure)
        else:
            await self._commit(assignment)
        await self._set(job, "Complete", "SUCCEEDED")

    async def _commit(self, assignment: Assignment) -> None:
        run = assignment.run
        outputs: dict[str, str] = {parent.stage: parent.output_digest for parent in run.parents}
        sources = SOURCES if not run.consumes else None
        identity = stage_identity(run.recipe, run.consumes, outputs, sources)
        assert identity is not None
        if identity not in self.store:
            self.commits[identity] = self.commits.get(identity, 0) + 1
        reused = identity in self.store
        summary = VERDICT if run.stage == "evaluation" else {}
        outcome = Outcome(
            stage=run.stage, identity=identity, output_digest=f"out-{identity}", summary=summary
        )
        self.store[identity] = outcome
        outputs[run.stage] = outcome.output_digest
        reusable = []
        for later in run.later:
            known = stage_identity(later.recipe, later.consumes, outputs, None)
            if known is None or known not in self.store:
                break
            reusable.append(self.store[known].model_copy(update={"reused": True}))
            outputs[later.stage] = self.store[known].output_digest
        await self._report(
            assignment,
            state="succeeded",
            sources=sources,
            result=outcome.model_copy(update={"reused": reused}).to_wire(),
            reusable=[found.to_wire() for found in reusable],
        )

    async def _report(self, assignment: Assignment, **fields: Any) -> None:
        reports = await self.kube.find(CONFIG_MAPS, assignment.reports, assignment.namespace)
        if reports is None:
            return
        text = (reports.get("data") or {}).get(assignment.key)
        try:
            before = json.loads(text or "{}").get("sequence", 0)
        except ValueError:
            before = 0  # someone has scribbled over it
        run = assignment.run
        report = Report.model_validate(
            {
                "stage": run.stage,
                "recipe": run.recipe,
                "attempt": assignment.attempt,
                **fields,
                "sequence": before + 1,
                "at": self.now(),
            }
        )
        patch = {"data": {assignment.key: report.model_dump_json(by_alias=True, exclude_none=True)}}
        await self.kube.merge(CONFIG_MAPS, assignment.reports, patch, assignment.namespace)

    async def shut_down(self, job: dict[str, Any]) -> None:
        """Remove what a RayJob controls."""
        metadata = job["metadata"]
        cluster = await self.kube.find(RAY_CLUSTERS, f"{metadata['name']}-c", metadata["namespace"])
        pods = [(PODS, cluster, pod) for _, pod, _ in _pods_of(job)]
        for resource, owner, name in (*pods, (RAY_CLUSTERS, job, f"{metadata['name']}-c")):
            found = await self.kube.find(resource, name, metadata["namespace"])
            owners = found["metadata"].get("ownerReferences", []) if found else []
            if found and (owner is None or owner["metadata"]["uid"] in [o["uid"] for o in owners]):
                await delete(self.kube, resource, found)

    async def _set(self, job: dict[str, Any], deployment: str, status: str) -> None:
        changed = {**job, "status": {"jobDeploymentStatus": deployment, "jobStatus": status}}
        try:
            await self.kube.replace_status(RAY_JOBS, changed)
        except (Stale, NotFound):
            return  # the next tick sees what has become of it

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pods_of(job: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return role, name and template of each pod that a RayJob's cluster has."""
    name, spec = job["metadata"]["name"], job["spec"].get("rayClusterSpec") or {}
    workers = [
        ("worker", f"{name}-worker-{number}", group["template"])
        for group in spec.get("workerGroupSpecs", [])
        for number in range(group["replicas"])
    ]
    head = spec.get("headGroupSpec") or {"template": {"spec": {"containers": []}}}
    return [("head", f"{name}-head", head["template"]), *workers]


async def delete(kube: Any, resource: Resource, item: dict[str, Any]) -> None:
    """Delete an object that was read."""
    metadata = item["metadata"]
    await kube.delete(resource, metadata["name"], metadata.get("namespace"), uid=metadata["uid"])


def _stage_of(child: dict[str, Any]) -> tuple[str, str]:
    """Return which stage of which job (uid) an object serves."""
    labels = child["metadata"].get("labels") or {}
    return labels.get("distillery.dev/job-uid", ""), labels.get("distillery.dev/stage", "")


@dataclass
class SimulatedCluster:
    """Plays KubeRay for all namespaces of a real API server: a watch starts a player per RayJob, as a controller would.

    Each namespace has a store of its own, so that the same spec is run and not adopted in each. `pace` is the pause
    between two steps of a RayJob in seconds, `most` how many steps are done at once.
    """

    kube: Any
    now: Callable[[], float]
    pace: float = 0.2
    most: int = 16
    namespaces: dict[str, SimulatedKubeRay] = field(default_factory=dict)
    _live: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    _players: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Play until cancelled. Raises: what a player met and could not get over."""
        slots = asyncio.Semaphore(self.most)
        async with asyncio.TaskGroup() as group, aclosing(self.kube.watch(RAY_JOBS)) as events:
            async for kind, job in events:
                uid = job["metadata"]["uid"]
                if kind != "DELETED" and uid not in self._players and not _over(job):
                    self._players[uid] = group.create_task(self._play(job, slots))

    def of(self, namespace: str) -> SimulatedKubeRay:
        """Return the one that plays in a namespace."""
        if namespace not in self.namespaces:
            self.namespaces[namespace] = SimulatedKubeRay(self.kube, self.now, namespace)
        return self.namespaces[namespace]

    async def _play(self, job: dict[str, Any], slots: asyncio.Semaphore) -> None:
        """Move a RayJob on until it is over or gone; its cluster and pod go with it."""
        name, live = job["metadata"]["name"], self._live.setdefault(_stage_of(job), set())
        over = False
        while not over:
            await asyncio.sleep(self.pace)
            async with slots:
                try:
                    over = await self._step(job, live)
                except DistilleryError:
                    continue  # the API server is away, or someone else's step came between
        live.discard(name)

    async def _step(self, job: dict[str, Any], live: set[str]) -> bool:
        """Do one step. Returns: whether it was the last."""
        metadata = job["metadata"]
        kuberay = self.of(metadata["namespace"])
        now = await self.kube.find(RAY_JOBS, metadata["name"], metadata["namespace"])
        if now is None or now["metadata"]["uid"] != metadata["uid"]:
            await kuberay.shut_down(job)
            return True
        live.add(metadata["name"])
        stage = _stage_of(job)
        kuberay.most_live[stage] = max(len(live), kuberay.most_live.get(stage, 0))
        await kuberay.advance(now)
        return _over(now)


def _over(job: dict[str, Any]) -> bool:
    """Say whether a RayJob that was read in this state has been shut down in the step that followed."""
    return (job.get("status") or {}).get("jobDeploymentStatus") == "Complete"

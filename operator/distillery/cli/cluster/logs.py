"""The `logs` verb: what the head pod of a stage's newest attempt says."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import Any

from distillery.artifacts import layout
from distillery.cli.cluster.access import Access
from distillery.cli.cluster.ending import end_of, status_in
from distillery.cli.cluster.recorded import recorded_attempts
from distillery.controller.intake import ref_of
from distillery.controller.projection import project_cluster, project_pod, project_rayjob
from distillery.errors import DistilleryError
from distillery.kube.client import Object
from distillery.kube.errors import Forbidden
from distillery.kube.resources import PODS, RAY_CLUSTERS, RAY_JOBS
from distillery.manifests.metadata import JOB_UID_LABEL
from distillery.planning.children import Child, PodView
from distillery.planning.ownership import RAY_GROUP, children_of

HEAD = "ray.io/node-type=head"
POLL_SECONDS = 1.0
WAITING = ("PodInitializing", "ContainerCreating")
"""Reasons of a container that will start by itself."""


async def print_logs(
    access: Access, name: str, stage: str | None, attempt: int | None, *, follow: bool
) -> None:
    """Print the log of the newest attempt that fits; with `follow` until its pod ends.

    Raises: DistilleryError if there is no such pod, or its container does not start.
    """
    job = await access.job(name)
    pod = await _newest(access, job, stage, attempt)
    container = pod["spec"]["containers"][0]["name"]  # KubeRay's rule: the first one runs Ray
    pod = await _started(access, pod, follow=follow)
    lines = access.kube.logs(pod["metadata"]["name"], access.namespace, container, follow)
    async with aclosing(lines) as log:
        async for line in log:
            print(line, flush=follow)


async def _newest(access: Access, job: Object, stage: str | None, attempt: int | None) -> Object:
    labels = f"{JOB_UID_LABEL}={job['metadata']['uid']}"
    heads = {
        pod["metadata"]["name"]: pod
        for pod in await access.kube.list(PODS, access.namespace, labels=f"{HEAD},{labels}")
    }
    own = await _own(access, job, [project_pod(pod) for pod in heads.values()], labels)
    pods = [heads[view.name] for view in own if _fits(view.key, stage, attempt)]
    if not pods:
        kept = await _kept(access, job, stage, attempt)
        raise DistilleryError(f"{_no_pod(job, stage, attempt)}{kept}")
    return max(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))


async def _own(access: Access, job: Object, heads: list[PodView], labels: str) -> list[PodView]:
    """Return those of the pods that belong to the job, as the operator judges it, each with its attempt.

    Whoever may not read RayJobs is shown what a Ray cluster controls and is labelled as the job's.
    """
    if not heads:
        return []
    try:
        jobs = await access.kube.list(RAY_JOBS, access.namespace, labels=labels)
        clusters = await access.kube.list(RAY_CLUSTERS, access.namespace, labels=labels)
    except Forbidden:
        print("note: whose pod it is goes by its labels: you may not list RayJobs", file=sys.stderr)
        return [view for view in heads if view.owner is not None and view.owner.group == RAY_GROUP]
    attempts, _ = await recorded_attempts(access, job)
    candidates: list[Child] = [*map(project_rayjob, jobs), *map(project_cluster, clusters), *heads]
    entries = {entry.key: entry for entry in attempts}
    return [c for c in children_of(ref_of(job), candidates, entries) if isinstance(c, PodView)]


def _fits(key: str, stage: str | None, attempt: int | None) -> bool:
    """Say whether an attempt's key is that of a stage and an attempt, where they matter."""
    its_stage, _, its_attempt = key.partition(".")
    return stage in (None, its_stage) and (attempt is None or str(attempt) == its_attempt)


def _no_pod(job: Object, stage: str | None, attempt: int | None) -> str:
    name, status = job["metadata"]["name"], status_in(job)
    wanted = " ".join(filter(None, [stage, f"attempt {attempt}" if attempt else None]))
    message = f"no pod of {name}{f' ({wanted})' if wanted else ''} is there"
    if end_of(status, job["metadata"]["generation"]) is not None:
        return f"{message}: it has ended, and pods go with their attempt"
    return f"{message}: {status.phase}, {status.progress.message or 'nothing has started yet'}"


async def _kept(access: Access, job: Object, stage: str | None, attempt: int | None) -> str:
    """Say where the newest ended attempt that fits has left its log."""
    attempts, _ = await recorded_attempts(access, job)
    ended = [
        entry
        for entry in attempts
        if entry.ended_at is not None and stage in (None, entry.stage) and attempt in (None, entry.attempt)
    ]
    if not ended:
        return ""
    last = ended[-1]
    key = layout.attempt_log(job["metadata"]["uid"], last.stage, last.attempt)
    return (
        f" → {last.stage} attempt {last.attempt} left its log, unless it was killed, at {last.storage}/{key}"
    )


async def _started(access: Access, pod: Object, *, follow: bool) -> Object:
    """Return the pod once its container has started; without `follow` it must have."""
    while True:
        trouble = _trouble(pod)
        if not trouble:
            return pod
        name = pod["metadata"]["name"]
        if not follow or not trouble.startswith(WAITING):
            raise DistilleryError(f"pod {name} does not run yet: {trouble}")
        await asyncio.sleep(POLL_SECONDS)
        pod = await access.kube.get(PODS, name, access.namespace)


def _trouble(pod: Object) -> str:
    """Say why the container has not started; empty if it has."""
    status: dict[str, Any] = pod.get("status") or {}
    states = [entry.get("state") or {} for entry in (status.get("containerStatuses") or [])[:1]]
    if states and "waiting" not in states[0]:
        return ""
    if states and (status["containerStatuses"][0].get("restartCount") or 0) > 0:
        return ""
    for state in states:
        waiting = state["waiting"]
        return ": ".join(filter(None, [waiting.get("reason"), waiting.get("message")]))
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"{condition.get('reason')}: {condition.get('message')}"
    return "" if status.get("phase") in ("Succeeded", "Failed") else "ContainerCreating"

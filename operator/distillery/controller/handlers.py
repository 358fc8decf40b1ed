"""Kopf as a source of events and nothing else: no annotations, no finalizers, no patches, no handler state.

Events fill the cache and enqueue jobs. Kopf swallows what a handler raises and never repeats it, so handlers do
nothing that can fail or wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import kopf

from distillery.controller.cache import Cache, JobKey, KnownJob
from distillery.controller.projection import project_cluster, project_pod, project_rayjob
from distillery.controller.queue import WorkQueue
from distillery.controller.wanted import named, wanted
from distillery.kube.resources import (
    CONFIG_MAPS,
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    Resource,
)
from distillery.kube.session import View, open_session
from distillery.manifests.metadata import JOB_UID_LABEL, STAGE_LABEL
from distillery.planning.children import Child

REPORTS_SUFFIX = "-reports"

LABEL_SELECTORS = {
    RAY_JOBS: JOB_UID_LABEL,
    RAY_CLUSTERS: JOB_UID_LABEL,
    PODS: JOB_UID_LABEL,
    CONFIG_MAPS: f"{JOB_UID_LABEL},!{STAGE_LABEL}",
}
"""What the API server sends: children of jobs only; of ConfigMaps not the attempts' own, which never change."""

PROJECTIONS: dict[Resource, Callable[[Mapping[str, Any]], Child]] = {
    RAY_JOBS: project_rayjob,
    RAY_CLUSTERS: project_cluster,
    PODS: project_pod,
}


VIEWS: dict[Resource, View] = {
    DISTILLATION_JOBS: wanted(spec=["profile"]),
    DISTILLATION_PROFILES: wanted(),
    CONFIG_MAPS: wanted(),
    RAY_JOBS: wanted(spec=["suspend"], status=True),
    RAY_CLUSTERS: wanted(status=True),
    PODS: wanted(spec=["nodeName"], status=True, sizes=True),
}
"""What Kopf is given of the objects: what the handlers and the projections read."""


class Handlers:
    """What happens on events. `forget` is told the uid of a job that is gone."""

    def __init__(self, cache: Cache, queue: WorkQueue[JobKey], forget: Callable[[str], None]) -> None:
        self._cache = cache
        self._queue = queue
        self._forget = forget

    def job(self, kind: str | None, document: Mapping[str, Any]) -> None:
        """Take an event of a DistillationJob. Args: `kind` is Kopf's: None while listing."""
        job = named(document)
        if job is None:
            return
        key = (job.namespace, job.name)
        if kind == "DELETED":
            self.job_gone(job.uid, key)
            return
        spec = document.get("spec")
        profile = spec.get("profile") if isinstance(spec, Mapping) else None
        self._cache.know_job(job.uid, KnownJob(key, profile if isinstance(profile, str) else None))
        self._queue.add(key)

    def job_gone(self, uid: str, key: JobKey) -> None:
        """Drop all that is known of a job, unless a new one of the same name has come already."""
        self._cache.forget_job(uid)
        self._forget(uid)
        if not self._cache.has_job(key):
            self._queue.forget(key)

    def child(self, kind: str | None, view: Child) -> None:
        """Take an event of a RayJob, RayCluster or pod."""
        if kind == "DELETED":
            self._cache.delete(view)
        elif not self._cache.upsert(view):
            return
        self.touch(view.namespace, view.job_uid)

    def config_map(self, kind: str | None, metadata: Mapping[str, Any]) -> None:
        """Take an event of a ConfigMap: reports that changed, or anything of a job that was deleted."""
        if kind == "DELETED" or str(metadata.get("name")).endswith(REPORTS_SUFFIX):
            labels = metadata.get("labels")
            job_uid = str(labels.get(JOB_UID_LABEL)) if isinstance(labels, Mapping) else ""
            self.touch(str(metadata.get("namespace", "")), job_uid)

    def profile(self, name: str) -> None:
        """Take an event of a DistillationProfile: all jobs that wait for it or use it are looked at."""
        for key in self._cache.jobs_with_profile(name):
            self._queue.add(key)

    def touch(self, namespace: str, job_uid: str) -> None:
        """Enqueue a job of which something in a namespace bears the uid: no job has children in another one.

        A job that is not known yet comes with its own event.
        """
        key = self._cache.job(job_uid)
        if key is not None and key[0] == namespace:
            self._queue.add(key)


class NoDiffs(kopf.DiffBaseStorage):
    """Kopf compares objects with what it stored in them. Nothing is stored, so nothing need be copied either."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        """Return nothing."""
        return

    def store(self, **_: Any) -> None:
        """Store nothing."""


def registry_of(handlers: Handlers, kubeconfig: str | None = None) -> kopf.OperatorRegistry:
    """Return the handlers in Kopf's form. None of them returns anything: Kopf would write it to the object."""
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.AiohttpSession:
        session, server, namespace = await open_session(kubeconfig, VIEWS)
        return kopf.AiohttpSession(server=server, aiohttp_session=session, default_namespace=namespace)

    kopf.on.login(registry=registry)(login)

    async def on_job(type: str | None, body: Mapping[str, Any], **_: Any) -> None:
        handlers.job(type, body)

    async def on_config_map(type: str | None, meta: Mapping[str, Any], **_: Any) -> None:
        handlers.config_map(type, meta)

    async def on_profile(name: str | None, **_: Any) -> None:
        handlers.profile(name or "")

    _listen(registry, DISTILLATION_JOBS, on_job)
    _listen(registry, CONFIG_MAPS, on_config_map)
    _listen(registry, DISTILLATION_PROFILES, on_profile)
    for resource, project in PROJECTIONS.items():
        _listen(registry, resource, _child_handler(handlers, project))
    return registry


def kopf_settings() -> kopf.OperatorSettings:
    """Return Kopf's settings: selectors on the server's side, quick release of objects, no scan of the cluster."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = NoDiffs()
    # The session has limits of its own, within which it tries again; to Kopf the end of its patience is the end.
    settings.networking.request_timeout = None
    settings.networking.connect_timeout = 10
    # A worker of Kopf keeps the last object that it handled until it has been idle for so long.
    settings.queueing.idle_timeout = 0.5
    settings.watching.chunk_size = 250
    settings.process.ultimate_exiting_timeout = 60
    for resource, selector in LABEL_SELECTORS.items():
        settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return settings


async def watch(
    handlers: Handlers, namespaces: Iterable[str], kubeconfig: str | None = None, **flags: Any
) -> None:
    """Run Kopf until its stop flag is raised. Args: `flags` are Kopf's `stop_flag` and `ready_flag`."""
    names = list(namespaces)
    # Only for peering, which is off; Kopf's default fails where the user has no name.
    identity: Any = "distillery"
    await kopf.operator(
        identity=identity,
        registry=registry_of(handlers, kubeconfig),
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not names,
        namespaces=names,
        **flags,
    )


def _listen(registry: kopf.OperatorRegistry, resource: Resource, handler: Any) -> None:
    kopf.on.event(
        resource.group, resource.version, resource.plural, id=f"on-{resource.plural}", registry=registry
    )(handler)


def _child_handler(handlers: Handlers, project: Callable[[Mapping[str, Any]], Child]) -> Any:
    async def on_child(type: str | None, body: Mapping[str, Any], **_: Any) -> None:
        handlers.child(type, project(body))

    return on_child

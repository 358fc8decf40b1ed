"""Lists against lost events: Kopf tells neither deletions while a watch is broken, nor kinds that come later."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable

from distillery.controller.cache import Cache, KnownJob
from distillery.controller.handlers import PROJECTIONS, Handlers
from distillery.controller.queue import WorkQueue
from distillery.controller.wanted import named
from distillery.errors import DistilleryError
from distillery.kube.client import Kube
from distillery.kube.errors import NotFound
from distillery.kube.resources import (
    DISTILLATION_JOBS,
    DISTILLATION_PROFILES,
    RAY_CLUSTERS,
    RAY_JOBS,
    Resource,
)
from distillery.manifests.metadata import JOB_UID_LABEL
from distillery.planning.children import Child, ClusterView, PodView, RayJobView

log = logging.getLogger(__name__)

SWEEP_SECONDS = 600.0
RETRY_SECONDS = 15.0
KIND_SECONDS = 30.0
"""While a kind is missing, how often it is looked for."""

CHILD_TYPES: dict[str, type[Child]] = {"RayJob": RayJobView, "RayCluster": ClusterView, "Pod": PodView}
INSTALLED = (DISTILLATION_JOBS, DISTILLATION_PROFILES, RAY_JOBS, RAY_CLUSTERS)
"""Kinds that somebody has to install."""


class KindAppeared(DistilleryError):
    """A kind was installed that the watches do not know: the process has to start anew."""


class Sweeper:
    """Compares the cache with complete lists, in pages and without keeping objects."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        queue: WorkQueue[tuple[str, str]],
        handlers: Handlers,
        namespaces: Iterable[str],
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._handlers = handlers
        self._namespaces: list[str | None] = list(namespaces) or [None]
        self._missing: set[Resource] = set()
        self._swept_at = time.monotonic()

    def age(self) -> float:
        """Return for how many seconds no sweep has succeeded."""
        return time.monotonic() - self._swept_at

    async def first(self) -> None:
        """Fill the cache, however long that takes, and note which kinds are not installed."""
        while True:
            try:
                self._missing = await self._missing_kinds()
                await self.sweep()
                break
            except DistilleryError as error:
                log.warning("the cluster could not be listed: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
        for resource in sorted(self._missing, key=lambda kind: kind.kind):
            log.warning("%s (%s) is not installed", resource.kind, resource.api_version)

    async def run(self) -> None:
        """Sweep for ever. Raises: KindAppeared."""
        while True:
            await asyncio.sleep(await self._pause())
            try:
                appeared = self._missing - await self._missing_kinds() if self._missing else set()
                if not appeared and self.age() >= SWEEP_SECONDS / 2:
                    await self.sweep()
            except DistilleryError as error:
                log.warning("the cluster could not be listed: %s", error)
                continue
            if appeared:
                names = ", ".join(sorted(resource.kind for resource in appeared))
                raise KindAppeared(f"{names} can be watched now")

    async def sweep(self) -> None:
        """Compare everything once. Raises: what the API server answers."""
        mark = self._cache.mark()
        await self._jobs()
        for resource in PROJECTIONS:
            if resource not in self._missing:
                await self._children(resource, mark)
        self._cache.settle(mark)
        self._swept_at = time.monotonic()

    async def _jobs(self) -> None:
        if DISTILLATION_JOBS in self._missing:
            return
        known = set(self._cache.job_uids())
        listed: dict[str, tuple[str, str]] = {}
        for namespace in self._namespaces:
            scan = self._kube.scan(DISTILLATION_JOBS, namespace, view=named, metadata_only=True)
            async for page in scan:
                listed.update((job.uid, (job.namespace, job.name)) for job in page if job is not None)
        for uid in known - set(listed):
            key = self._cache.job(uid)
            if key is not None:
                self._handlers.job_gone(uid, key)
        for uid, key in listed.items():
            if self._cache.job(uid) is None:
                # The watch's own event completes it with the profile.
                self._cache.know_job(uid, KnownJob(key))
        self._queue.ensure(listed.values())

    async def _children(self, resource: Resource, mark: int) -> None:
        project = PROJECTIONS[resource]
        views: list[Child] = []
        for namespace in self._namespaces:
            async for page in self._kube.scan(resource, namespace, view=project, labels=JOB_UID_LABEL):
                views += page
        for family in self._cache.relist(CHILD_TYPES[resource.kind], views, mark):
            self._handlers.touch(*family)

    async def _missing_kinds(self) -> set[Resource]:
        missing = set()
        for resource in INSTALLED:
            namespace = self._namespaces[0] if resource.namespaced else None
            try:
                async for _ in self._kube.scan(resource, namespace, view=named, metadata_only=True):
                    break
            except NotFound as error:
                if not error.kind_missing:
                    raise
                missing.add(resource)
        return missing

    async def _pause(self) -> float:
        usual = SWEEP_SECONDS if self.age() < SWEEP_SECONDS else RETRY_SECONDS
        pause = min(usual, KIND_SECONDS) if self._missing else usual
        return pause * random.uniform(0.9, 1.1)

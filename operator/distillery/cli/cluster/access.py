"""A connection for people: applies manifests strictly, finds jobs, and explains what the API server refuses."""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from distillery.cli.cluster.kubeconfig import MISSING, fault_of, is_missing
from distillery.cli.cluster.options import Cluster
from distillery.cli.cluster.session import NotReached
from distillery.errors import DistilleryError, TransientError
from distillery.kube.client import Kube, Object
from distillery.kube.errors import Forbidden, NoCluster, NotFound, Unavailable, Unusable
from distillery.kube.resources import DISTILLATION_JOBS, Resource
from distillery.settings import Settings

FIELD_MANAGER = "distillery"
APPLY_PATCH = "application/apply-patch+yaml"
CRD_MISSING = "the cluster does not know DistillationJobs → install distillery as docs/install.md describes"
_FORBIDDEN = re.compile(
    r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)"| (?P<all>at the cluster scope))?'
)


class UserKube(Kube):
    """The client with the verb that only people use."""

    async def apply(
        self, resource: Resource, body: Object, *, dry_run: bool = False, force: bool = False
    ) -> Object:
        """Apply an object as `kubectl apply --server-side` does, unknown fields refused.

        Raises: Stale if another field manager owns a changed field and `force` is not given, Unusable.
        """
        metadata = body["metadata"]
        query = {
            "fieldManager": FIELD_MANAGER,
            "fieldValidation": "Strict",
            "force": "true" if force else "false",
            **({"dryRun": "All"} if dry_run else {}),
        }
        path = resource.path(metadata["namespace"], metadata["name"])
        return await self._transport.call(
            "patch", resource.plural, path, query=query, body=body, content_type=APPLY_PATCH
        )


@dataclass(frozen=True, slots=True)
class Access:
    """The client and the namespace that a verb means."""

    kube: UserKube
    cluster: Cluster
    namespace: str

    @property
    def flags(self) -> str:
        """The options that lead another command here."""
        return self.cluster.flags(self.namespace)

    async def job(self, name: str) -> Object:
        """Return a DistillationJob. Raises: NotReached with the names of similar ones."""
        found = await self.kube.find(DISTILLATION_JOBS, name, self.namespace)
        if found is not None:
            return found
        hint = await self._elsewhere(name) or await self._similar(name)
        raise NotReached(f"no DistillationJob {name} in namespace {self.namespace} → {hint}")

    async def _elsewhere(self, name: str) -> str:
        """Look for the name in other namespaces, if that is allowed."""
        try:
            items = await self.kube.list(DISTILLATION_JOBS, fields=f"metadata.name={name}")
        except (Forbidden, TransientError):
            return ""
        namespaces = sorted(item["metadata"]["namespace"] for item in items)
        return f"there is one in {' and '.join(namespaces[:3])}: add -n {namespaces[0]}" if namespaces else ""

    async def _similar(self, name: str) -> str:
        try:
            items = await self.kube.list(DISTILLATION_JOBS, self.namespace)
        except (Forbidden, TransientError):
            items = []
        names = sorted(item["metadata"]["name"] for item in items)
        similar = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if similar:
            return f"did you mean {' or '.join(similar)}?"
        return f"there are {', '.join(names[:5])}" if names else "this namespace has none: distillery submit"


@asynccontextmanager
async def connected(cluster: Cluster, settings: Settings) -> AsyncIterator[Access]:
    """Connect as kubectl would. Raises: DistilleryError; every error of the API server leaves as a sentence."""
    if is_missing(cluster, settings):  # the client would say so in a log line, and of another place
        raise NotReached(MISSING)
    file = cluster.file(settings)
    try:
        async with UserKube.connect(file, cluster.context) as kube:
            yield Access(cast(UserKube, kube), cluster, cluster.namespace or kube.namespace)
    except NoCluster as error:
        raise NotReached(fault_of(file, cluster.context, str(error))) from None
    except (NotFound, Forbidden, Unusable, Unavailable) as error:
        raise DistilleryError(explain(error)) from None


def explain(error: NotFound | Forbidden | Unusable | Unavailable) -> str:
    """Say what an answer of the API server means and what helps."""
    if isinstance(error, NotFound):
        return CRD_MISSING if error.kind_missing else f"not found: {error.message or error.what}"
    if isinstance(error, Unavailable):
        return f"the API server does not answer ({error.message}) → check the context: kubectl cluster-info"
    if isinstance(error, Unusable):
        return error.message or str(error)
    found = _FORBIDDEN.search(error.message)
    if found is None:
        return f"the API server refuses: {error.message} → log in again, or ask who runs the cluster"
    resource = ".".join(filter(None, [found["resource"], found["group"]]))
    where = f"a Role in namespace {found['namespace']}" if found["namespace"] else "a ClusterRole"
    return f"{error.message} → ask for {where} that allows to {found['verb']} {resource}"

"""The Kubernetes client: few verbs on plain dicts, no typed models, no discovery."""

from __future__ import annotations

import builtins
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from distillery.kube.connection import open_client
from distillery.kube.errors import NotFound, Stale
from distillery.kube.paging import SCAN_PAGE, Listing, PageSize
from distillery.kube.resources import PODS, Resource
from distillery.kube.transport import (
    FOLLOW_TIMEOUT,
    JSON,
    MERGE_PATCH,
    METADATA_ONLY,
    REQUEST_TIMEOUT,
    OnCall,
    Transport,
)
from distillery.kube.watching import Event, Watching

T = TypeVar("T")
Object = dict[str, Any]
"""A Kubernetes object as JSON."""


class Kube:
    """A connection to one cluster. Every request has a time limit; the errors are those of kube/errors.py."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self._sizes: dict[str, PageSize] = defaultdict(PageSize)
        self.namespace = namespace
        """Where the context or the pod stands."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, kubeconfig: str | None = None, context: str | None = None, on_call: OnCall | None = None
    ) -> AsyncIterator[Kube]:
        """Connect as the pod's ServiceAccount, or with a kubeconfig if one is named or there is no pod.

        Raises: NoCluster.
        """
        client, namespace = await open_client(kubeconfig, context)
        transport = Transport(client, on_call)
        try:
            yield cls(transport, namespace)
        finally:
            await transport.close()

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        """Return an object as it is now. Raises: NotFound."""
        return await self._transport.call("get", resource.plural, resource.path(namespace, name))

    async def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """Return an object as it is now, or None if there is none. Raises: NotFound if its kind is missing."""
        try:
            return await self.get(resource, name, namespace)
        except NotFound as error:
            if error.kind_missing:
                raise
            return None

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> list[Object]:
        """Return the objects of a namespace, or of all, that match the selectors. Raises: NotFound for the kind."""
        path = resource.path(namespace)
        query = _selectors(labels, fields)
        return await Listing(self._transport, resource, path, query, self._sizes[resource.plural]).all()

    async def scan(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        view: Callable[[Object], T],
        labels: str | None = None,
        fields: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncGenerator[builtins.list[T], None]:
        """Yield a list page by page, for collections that are too large to be held.

        Args:
            resource: the kind.
            namespace: where; omitted: everywhere.
            view: makes of an object what is wanted of it; it must not fail. Nothing else is kept.
            labels: selector.
            fields: selector.
            metadata_only: have nothing else sent.

        Raises: Expired between two pages (begin again), NotFound for the kind.
        """
        path, query = resource.path(namespace), _selectors(labels, fields)
        listing = Listing(self._transport, resource, path, query, self._sizes[resource.plural])
        accept = METADATA_ONLY if metadata_only else JSON
        async with aclosing(listing.pages(view, accept, SCAN_PAGE)) as pages:
            async for page in pages:
                yield page

    async def create(self, resource: Resource, body: Object) -> Object:
        """Create an object in the namespace that it names. Raises: Exists."""
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"))
        if resource.namespaced and not metadata.get("namespace"):
            raise ValueError(f"{resource.kind} without a namespace")
        new = str(metadata.get("name", ""))
        return await self._transport.call("create", resource.plural, path, body=body, new=new)

    async def replace(self, resource: Resource, body: Object) -> Object:
        """Replace an object; the resourceVersion in it is the precondition. Raises: Stale, NotFound."""
        return await self._put(resource, body, None)

    async def replace_status(self, resource: Resource, body: Object) -> Object:
        """Replace an object's status; the resourceVersion in it is the precondition. Raises: Stale, NotFound."""
        return await self._put(resource, body, "status")

    async def merge(
        self,
        resource: Resource,
        name: str,
        patch: Object,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
    ) -> Object:
        """Apply a JSON merge patch; `metadata.resourceVersion` in it is a precondition. Raises: Stale, NotFound."""
        path = resource.path(namespace, name, subresource)
        return await self._transport.call(
            "patch", resource.plural, path, body=patch, content_type=MERGE_PATCH
        )

    async def delete(self, resource: Resource, name: str, namespace: str | None = None, *, uid: str) -> None:
        """Delete an object, its dependents follow in the background. One that is gone is fine.

        Only the object of that uid: another one of the same name stays, silently, since the one that was meant is gone.
        """
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._transport.call(
                "delete", resource.plural, resource.path(namespace, name), body=options
            )
        except (NotFound, Stale):
            return

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        name: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """Yield what there is as ADDED, then every change, for ever. Survives lost connections and forgotten versions.

        Close it (`aclosing`) when leaving early. Raises: NotFound for the kind, Forbidden, Unusable.
        """
        if name is not None:
            fields = ",".join(filter(None, [fields, f"metadata.name={name}"]))
        watching = Watching(self._transport, resource, resource.path(namespace), _selectors(labels, fields))
        async with aclosing(watching.events()) as events:
            async for event in events:
                yield event

    async def logs(
        self, pod: str, namespace: str, container: str | None = None, follow: bool = False
    ) -> AsyncGenerator[str, None]:
        """Yield the lines of a container's log. Raises: NotFound, Unusable while the container has not started."""
        query = {"follow": "true" if follow else "false"}
        if container is not None:
            query["container"] = container
        path = PODS.path(namespace, pod, "log")
        timeout = FOLLOW_TIMEOUT if follow else REQUEST_TIMEOUT
        async with aclosing(self._transport.lines("logs", PODS.plural, path, query, timeout)) as lines:
            async for line in lines:
                yield line.decode(errors="replace")

    async def _put(self, resource: Resource, body: Object, subresource: str | None) -> Object:
        metadata = body["metadata"]
        if not metadata.get("resourceVersion"):
            raise ValueError(f"{resource.kind} {metadata['name']} would be replaced without a precondition")
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self._transport.call("update", resource.plural, path, body=body)


def _selectors(labels: str | None, fields: str | None) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in chosen.items() if value}

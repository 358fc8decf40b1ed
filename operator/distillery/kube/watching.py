"""A watch that goes on: list, then follow; reconnect where it broke off; list again when the server forgot."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from distillery.errors import TransientError
from distillery.kube.errors import Expired, Unavailable, watch_error
from distillery.kube.resources import Resource
from distillery.kube.transport import JSON, Transport

Event = tuple[str, dict[str, Any]]
"""ADDED, MODIFIED or DELETED and the object."""

PAGE = 500
SCAN_PAGE = 100
"""Objects a page where a collection is read that is too large to be held; 500 RayJobs alone take 25 MB."""
SERVER_SECONDS = 300
"""How long the server keeps one connection; then the watch goes on from where it was."""
SHORT_PAUSE = 0.2
"""Before a watch goes on that ended in order: a server that ends each at once must not be hammered."""
LONGEST_PAUSE = 30.0


class Listing:
    """One list of a collection, read in pages. `version` is its resourceVersion once it has been read."""

    def __init__(self, transport: Transport, resource: Resource, path: str, query: dict[str, str]) -> None:
        self._transport = transport
        self._resource = resource
        self._path = path
        self._query = query
        self.version = ""

    async def pages(self, accept: str = JSON, size: int = PAGE) -> AsyncGenerator[list[dict[str, Any]], None]:
        """Yield the pages. Raises: Expired if the collection is forgotten before its last page is read."""
        query = {**self._query, "limit": str(size)}
        more = ""
        while True:
            asked = {**query, "continue": more} if more else query
            page = await self._transport.call(
                "list", self._resource.plural, self._path, query=asked, accept=accept
            )
            items: list[dict[str, Any]] = page.get("items") or []
            for item in items:
                # Lists of built-in kinds leave these out of their items.
                item.setdefault("apiVersion", self._resource.api_version)
                item.setdefault("kind", self._resource.kind)
            yield items
            metadata = page.get("metadata") or {}
            more = metadata.get("continue") or ""
            if not more:
                self.version = str(metadata.get("resourceVersion", ""))
                return

    async def all(self) -> list[dict[str, Any]]:
        """Return all objects, however often the list has to be begun. Raises: Expired after three times."""
        for _ in range(2):
            try:
                return [item async for page in self.pages() for item in page]
            except Expired:
                continue
        return [item async for page in self.pages() for item in page]


class Watching:
    """One endless watch. What is known is kept as names only, to tell deletions that a gap has swallowed."""

    def __init__(self, transport: Transport, resource: Resource, path: str, query: dict[str, str]) -> None:
        self._transport = transport
        self._resource = resource
        self._path = path
        self._query = query
        self._known: dict[str, dict[str, Any]] = {}
        self._version = ""

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the objects there are as ADDED, then every change. After a gap objects are repeated as MODIFIED.

        Ends only by an error that no repetition mends (NotFound, Refused, Unusable).
        """
        pause = 0.0
        while True:
            try:
                if not self._version:
                    for event in await self._listed():
                        yield event
                async with aclosing(self._followed()) as events:
                    async for event in events:
                        pause = 0.0
                        yield event
                delay = SHORT_PAUSE
            except Expired:
                self._version = ""
                delay = SHORT_PAUSE
            except TransientError as error:
                pause = min(LONGEST_PAUSE, max(1.0, pause * 2))
                asked = error.retry_after if isinstance(error, Unavailable) else None
                delay = max(asked or 0.0, pause * random.uniform(0.5, 1.0))
            await asyncio.sleep(delay)

    async def _listed(self) -> list[Event]:
        listing = Listing(self._transport, self._resource, self._path, self._query)
        items = await listing.all()
        before, self._known = self._known, {}
        for item in items:
            self._remember(item)
        self._version = listing.version
        gone: list[Event] = [
            ("DELETED", {"metadata": names}) for uid, names in before.items() if uid not in self._known
        ]
        return gone + [("MODIFIED" if item["metadata"]["uid"] in before else "ADDED", item) for item in items]

    async def _followed(self) -> AsyncGenerator[Event, None]:
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(SERVER_SECONDS),
            "resourceVersion": self._version,
        }
        lines = self._transport.lines("watch", self._resource.plural, self._path, query)
        async with aclosing(lines):
            async for line in lines:
                kind, item = self._read(line)
                self._version = str(item["metadata"]["resourceVersion"])
                if kind == "BOOKMARK":
                    continue
                if kind == "DELETED":
                    self._known.pop(item["metadata"]["uid"], None)
                else:
                    self._remember(item)
                yield kind, item

    def _read(self, line: bytes) -> Event:
        try:
            event = json.loads(line)
            kind, item = str(event["type"]), event["object"]
        except (ValueError, KeyError, TypeError) as error:
            # The connection broke within a line.
            raise Unavailable(f"watch {self._path}", "a broken line") from error
        if kind == "ERROR":
            raise watch_error(f"watch {self._path}", item)
        return kind, item

    def _remember(self, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        kept = ("namespace", "name", "uid", "labels", "ownerReferences")
        self._known[metadata["uid"]] = {key: metadata[key] for key in kept if key in metadata}

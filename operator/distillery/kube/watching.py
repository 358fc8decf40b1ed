"""A watch that goes on: list, then follow; reconnect where it broke off; list again when the server forgot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from distillery.errors import TransientError
from distillery.kube import backoff
from distillery.kube.backoff import Backoff
from distillery.kube.decoding import decoded, relieved
from distillery.kube.errors import Expired, Unavailable, watch_error
from distillery.kube.paging import Listing
from distillery.kube.resources import Resource
from distillery.kube.transport import Transport

Event = tuple[str, dict[str, Any]]
"""ADDED, MODIFIED or DELETED and the object."""

SERVER_SECONDS = 300
"""How long the server keeps one connection; then the watch goes on from where it was."""


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

        Ends only by an error that no repetition mends (NotFound, Forbidden, Unusable).
        """
        pauses = Backoff()
        while True:
            try:
                if not self._version:
                    for event in await self._listed():
                        yield event
                async with aclosing(self._followed()) as events:
                    async for event in events:
                        pauses.reset()
                        yield event
                pause = backoff.SHORT_PAUSE
            except Expired:
                self._version = ""
                pause = backoff.SHORT_PAUSE
            except TransientError as error:
                pause = pauses.after(error)
            await asyncio.sleep(pause)

    async def _listed(self) -> list[Event]:
        listing = Listing(self._transport, self._resource, self._path, self._query)
        items = await listing.all()
        before, self._known = self._known, {}
        items = [item for item in items if self._remember(item)]
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
                try:
                    kind, item = await decoded(line, self._event)
                except ValueError as error:
                    # The connection broke within a line.
                    raise Unavailable(f"watch {self._path}", "a broken line") from error
                metadata = item.get("metadata")
                if not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
                    continue  # nothing that can be known by name
                self._version = metadata["resourceVersion"]
                if kind == "DELETED":
                    self._known.pop(metadata.get("uid", ""), None)
                    yield kind, item
                elif kind in ("ADDED", "MODIFIED") and self._remember(item):
                    yield kind, item

    def _event(self, value: Any) -> Event:
        kind, item = event_of(f"watch {self._path}", value)
        return kind, relieved(item) if isinstance(item, dict) else {}

    def _remember(self, item: dict[str, Any]) -> bool:
        """Note what is left to tell of an object when it is gone. Returns: False if it is not one that has a name."""
        metadata = item.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("uid"), str):
            return False
        kept = ("namespace", "name", "uid", "labels", "ownerReferences")
        self._known[metadata["uid"]] = {key: metadata[key] for key in kept if key in metadata}
        return True


def event_of(what: str, value: Any) -> tuple[str, Any]:
    """Return the type and the object of an event.

    Raises: ValueError if it is none; Expired or Unavailable for what an ERROR event says. Args: `what` was watched.
    """
    try:
        kind, item = value["type"], value["object"]
    except (KeyError, TypeError):
        raise ValueError("it is no event") from None
    if kind == "ERROR":
        raise watch_error(what, item)
    return str(kind), item

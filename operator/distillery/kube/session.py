"""The session that Kopf lists and watches through: Kopf sees usable answers only, and of objects only what is wanted.

To Kopf every refusal that lasts a minute, every ERROR event but 410 and every answer of another shape is the end of
the process. Here each is told in the log and followed by another try after a growing pause; whether the operator
still hears enough is judged by the sweeper and by the Lease.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, cast

import aiohttp
from aiohttp.client_middlewares import ClientHandlerType
from kubernetes.aio.client import ApiClient

from distillery.errors import DistilleryError
from distillery.kube import backoff as pauses
from distillery.kube.backoff import Backoff
from distillery.kube.connection import USER_AGENT, open_client
from distillery.kube.decoding import decoded, relieved
from distillery.kube.errors import Expired, Unavailable, answer_error
from distillery.kube.paging import MOST_OBJECTS, Object, PageSize, page_of
from distillery.kube.resources import Resource
from distillery.kube.transport import MOST_BYTES, TooLarge, TooSlow, at_most, lines_of, unavailable
from distillery.kube.watching import event_of

log = logging.getLogger(__name__)

View = Callable[[Object], Object | None]
"""What is wanted of an object, as JSON with its metadata; None: nothing at all."""

ANSWER_SECONDS = 30.0
CHANGES = frozenset({"ADDED", "MODIFIED", "DELETED"})
ROOTS = {"/api": "versions", "/apis": "groups"}
"""Documents of discovery and the list that is in each; any other has `resources`."""


async def open_session(
    kubeconfig: str | None, views: Mapping[Resource, View]
) -> tuple[aiohttp.ClientSession, str, str]:
    """Return a session that logs in as `kube/connection.py` does, the address of the API server and the namespace.

    Of the kinds in `views` Kopf is given the views. Raises: NoCluster.
    """
    client, namespace = await open_client(kubeconfig, None)
    rest = client.rest_client
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=rest.ssl_context),
        headers={"User-Agent": USER_AGENT},
        proxy=rest.proxy,
        trust_env=True,
        response_class=_Response,
        middlewares=[_Middleware(client, views).send],
    )
    return session, client.configuration.host, namespace


class _Response(aiohttp.ClientResponse):
    """An answer that was read and found usable before anybody asks for its JSON."""

    document: Any = None

    async def json(self, **_: Any) -> Any:
        """Return the document."""
        return self.document


class _Middleware:
    """Sends the requests of a session until there is an answer that can be used."""

    def __init__(self, client: ApiClient, views: Mapping[Resource, View]) -> None:
        self._client = client
        self._views = views
        self._sizes: dict[str, PageSize] = defaultdict(PageSize)
        self._backoffs: dict[tuple[str, bool], Backoff] = {}

    async def send(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Return a usable answer, however long that takes."""
        path = request.url.path
        watches = "watch" in request.url.query
        backoff = self._backoffs.setdefault((path, watches), Backoff())
        while True:
            try:
                if watches:
                    return await self._watch(request, handler, backoff)
                answer = await self._read(request, handler)
                backoff.reset()
                return answer
            except Expired as error:
                if not watches:
                    # Kopf begins the list anew.
                    raise aiohttp.ClientPayloadError(str(error)) from None
                # Without a version the watch begins with all there is.
                request.url = request.url.without_query_params("resourceVersion")
                await _wait(backoff, error)
            except DistilleryError as error:
                await _wait(backoff, error)

    async def _read(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> _Response:
        path = request.url.path
        view = self._view(path)
        if view is None:
            return await self._understood(request, handler, partial(_discovery, path), MOST_BYTES)
        limit = request.url.query.get("limit", "")
        sizes = self._sizes[path]
        while True:
            size = sizes.of(int(limit) if limit.isdecimal() else MOST_OBJECTS)
            request.url = request.url.update_query(limit=str(size))
            try:
                answer = await self._understood(
                    request, handler, partial(_list, view), sizes.most_bytes(size)
                )
            except (TooLarge, TooSlow) as error:
                log.info("GET %s: pages of %d are too large", path, size)
                sizes.shrink(size, error)
                continue
            sizes.grow(size)
            return answer

    async def _understood(
        self,
        request: aiohttp.ClientRequest,
        handler: ClientHandlerType,
        view: Callable[[Any], Any],
        most: int,
    ) -> _Response:
        """Return an answer with its document. Raises: the errors of kube/errors.py."""
        what = f"GET {request.url.path}"
        async with _in_time(what):
            answer = await self._answer(request, handler)
            async with answer:
                body = await at_most(answer, most, what)
        try:
            answer.document = await decoded(body, view if answer.status != 404 else _anything)
        except (ValueError, MemoryError, RecursionError) as error:
            raise Unavailable(what, f"the answer cannot be used: {error}") from error
        return answer

    async def _watch(
        self, request: aiohttp.ClientRequest, handler: ClientHandlerType, backoff: Backoff
    ) -> _Response:
        what = f"watch {request.url.path}"
        async with _in_time(what):
            answer = await self._answer(request, handler)
        view = self._view(request.url.path) or dict
        answer.content = cast(Any, _Events(what, answer.content, view, backoff))
        return answer

    async def _answer(self, request: aiohttp.ClientRequest, handler: ClientHandlerType) -> _Response:
        """Send a request once. Raises: the errors of kube/errors.py for what is no success."""
        headers: dict[str, str] = {}
        # The library reads a rotating token anew and runs what a kubeconfig names for a login.
        await self._client.update_params_for_auth(
            headers, [], ["BearerToken"], request.url.path, request.method, None
        )
        request.headers.update(headers)
        if server_name := self._client.configuration.tls_server_name:
            request.server_hostname = server_name
        answer = cast(_Response, await handler(request))
        if answer.status == 404 and self._view(request.url.path) is None:
            return answer  # a group that is not installed: Kopf knows what to do
        if not 200 <= answer.status <= 299:
            async with answer:
                body = await at_most(answer, MOST_BYTES, request.url.path)
            raise answer_error(f"GET {request.url.path}", "get", answer.status, answer.headers, body)
        return answer

    def _view(self, path: str) -> View | None:
        """Return what is wanted of the objects of a collection; None for a document of discovery."""
        for resource, view in self._views.items():
            whole = resource.path()
            group = whole.removesuffix(resource.plural)
            if path == whole or (
                path.startswith(f"{group}namespaces/") and path.endswith(f"/{resource.plural}")
            ):
                return view
        return None


class _Events:
    """The lines of a watch: every one an event that Kopf can use. Anything else of the stream stays as it is."""

    def __init__(self, what: str, stream: aiohttp.StreamReader, view: View, backoff: Backoff) -> None:
        self._what = what
        self._stream = stream
        self._view = view
        self._backoff = backoff

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, _size: int) -> AsyncGenerator[bytes, None]:
        """Yield the events, one a chunk. Where the stream ends, wait before the next one is asked for."""
        started = time.monotonic()
        heard = False
        wrong: Exception | str = "it was ended at once"
        try:
            async with aclosing(lines_of(self._stream)) as lines:
                async for line in lines:
                    event = await self._read(line) if line.strip() else None
                    if event is not None:
                        heard = True
                        yield json.dumps(event).encode() + b"\n"
            if heard or time.monotonic() - started > 2 * pauses.FIRST_PAUSE:
                self._backoff.reset()
                await asyncio.sleep(pauses.SHORT_PAUSE)
                return
        except Expired as error:
            log.info("%s", error)
            yield json.dumps({"type": "ERROR", "object": {"code": 410}}).encode() + b"\n"
            return
        except DistilleryError as error:
            wrong = error
        except (ValueError, TimeoutError, aiohttp.ClientError, OSError) as error:
            wrong = f"a broken line: {error}"
        if heard:
            self._backoff.reset()
        await _wait(self._backoff, wrong if isinstance(wrong, DistilleryError) else f"{self._what}: {wrong}")

    async def _read(self, line: bytes) -> Object | None:
        try:
            return await decoded(line, self._event)
        except (MemoryError, RecursionError) as error:
            log.error("%s: an event is skipped: %s", self._what, type(error).__name__)
            return None

    def _event(self, value: Any) -> Object | None:
        """Return an event as Kopf may see it; of what has no view, or is unknown, just the version."""
        kind, item = event_of(self._what, value)
        if not isinstance(item, dict):
            raise ValueError("it is an event without an object")
        metadata = item.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        seen = _seen(self._view, item) if kind in CHANGES else None
        if seen is not None:
            return {"type": kind, "object": seen}
        if isinstance(version, str):
            return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}
        return None


@asynccontextmanager
async def _in_time(what: str) -> AsyncIterator[None]:
    """Give a request so much time. Raises: Unavailable if it takes longer, or its connection breaks."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise unavailable(what, error) from error


async def _wait(backoff: Backoff, error: Exception | str) -> None:
    """Tell what failed and wait."""
    pause = backoff.after(error)
    log.warning("%s; again in %.1f s", error, pause)
    await asyncio.sleep(pause)


def _seen(view: View, item: Object) -> Object | None:
    try:
        return view(relieved(item))
    except Exception:  # the border of one object: what is wrong with it must not stop the others
        log.exception("an object is skipped")
        return None


def _list(view: View, value: Any) -> Object:
    """Return a list as Kopf may see it. Raises: ValueError if it is none."""
    page = page_of(value, partial(_seen, view))
    metadata = {"resourceVersion": page.version, "continue": page.more}
    return {"metadata": metadata, "items": [item for item in page.items if item is not None]}


def _discovery(path: str, value: Any) -> Any:
    """Return a document of discovery. Raises: ValueError if it is none."""
    if not isinstance(value, dict) or not isinstance(value.get(ROOTS.get(path, "resources")), list):
        raise ValueError("it says nothing about kinds")
    return value


def _anything(value: Any) -> Any:
    return value

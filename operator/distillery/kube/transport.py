"""One request to the API server: authentication, time limit, errors by what must happen next, the call counter."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from kubernetes.aio.client import ApiClient

from distillery.kube.decoding import decoded, relieved
from distillery.kube.errors import Unavailable, answer_error

T = TypeVar("T")
OnCall = Callable[[str, str, int | None, float], None]
"""Told of every request: verb, plural, HTTP status or None when there was no answer, seconds until the answer."""

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=90)
"""A watch hears at least a bookmark a minute; 90 s of silence are a dead connection."""
FOLLOW_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)
"""A followed log may be silent for as long as the program says nothing."""

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Asks for a list whose items have nothing but metadata."""
ANYTHING = "*/*"
MOST_BYTES = 32 << 20
"""No answer about one object comes near: etcd takes 1.5 MB of them."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the API server."""

    verb: str
    plural: str
    path: str
    query: Mapping[str, str]
    body: Any = None
    content_type: str = JSON
    accept: str = JSON
    new: str = ""
    """Name of what is created, which the path lacks."""

    @property
    def what(self) -> str:
        """Return the request in words, for messages."""
        return f"{self.verb} {self.path}" + (f"/{self.new}" if self.new else "")


class TooLarge(Unavailable):
    """An answer has more bytes than the caller wants to hold."""


class TooSlow(Unavailable):
    """There was no answer in time."""


class Transport:
    """Sends requests; knows nothing about kinds."""

    def __init__(self, client: ApiClient, on_call: OnCall | None) -> None:
        self._client = client
        self._on_call = on_call

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def call(
        self,
        verb: str,
        plural: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
        new: str = "",
    ) -> dict[str, Any]:
        """Send one request and return the JSON object of the answer.

        Raises: the errors of kube/errors.py; Unavailable for everything that may pass, which includes a write that
        was cut off and may have happened.
        """
        request = Request(verb, plural, path, query or {}, body, content_type, accept, new)
        return await self.ask(request, _an_object)

    async def ask(self, request: Request, view: Callable[[Any], T], most: int = MOST_BYTES) -> T:
        """Send one request and return what `view` makes of the JSON of the answer.

        Raises: as `call`; TooLarge if the answer has more than `most` bytes; Unavailable if `view` raises ValueError.
        """
        async with self._send(request, REQUEST_TIMEOUT) as response:
            data = await at_most(response, most, request.what)
        try:
            return await decoded(data, view)
        except ValueError as error:
            raise Unavailable(request.what, f"the answer cannot be used: {error}") from error

    async def lines(
        self,
        verb: str,
        plural: str,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout = STREAM_TIMEOUT,
    ) -> AsyncGenerator[bytes, None]:
        """Send a request and yield the lines of the answer as they come, without their ends."""
        request = Request(verb, plural, path, query, accept=ANYTHING)
        async with self._send(request, timeout) as response, aclosing(lines_of(response.content)) as lines:
            async for line in lines:
                yield line

    @asynccontextmanager
    async def _send(
        self, asked: Request, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        started = time.monotonic()
        status: int | None = None
        try:
            request = await self._client.param_serialize(
                METHODS[asked.verb],
                asked.path,
                query_params=list(asked.query.items()),
                header_params={"Accept": asked.accept, "Content-Type": asked.content_type},
                body=asked.body,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(*request, _request_timeout=timeout)
            status = answer.status
            self._count(asked, status, started)
            response: aiohttp.ClientResponse = answer.response
            async with response:
                if not 200 <= status <= 299:
                    raise answer_error(
                        asked.what, asked.verb, status, response.headers, await response.read()
                    )
                yield response
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            if status is None:
                self._count(asked, None, started)
            raise unavailable(asked.what, error) from error

    def _count(self, asked: Request, status: int | None, started: float) -> None:
        if self._on_call is not None:
            self._on_call(asked.verb, asked.plural, status, time.monotonic() - started)


def unavailable(what: str, error: Exception) -> Unavailable:
    """Return the error for a request whose connection broke, or that took too long."""
    kind = TooSlow if isinstance(error, TimeoutError) else Unavailable
    return kind(what, f"{type(error).__name__} {error}".strip())


def _an_object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    relieved(value)
    return value


async def at_most(response: aiohttp.ClientResponse, most: int, what: str) -> bytes:
    """Return the body of an answer. Raises: TooLarge as soon as it has more than `most` bytes."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > most:
            raise TooLarge(what, f"the answer has more than {most:,} bytes")
    return bytes(data)


async def lines_of(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a body as they come, without their ends."""
    rest = b""
    # Our own splitting: readline() refuses lines beyond its buffer, and an object may be 1.5 MB and more.
    async for chunk in stream.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


METHODS = {
    "get": "GET",
    "list": "GET",
    "watch": "GET",
    "logs": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
"""HTTP methods of the verbs, which are RBAC's, plus `logs`."""

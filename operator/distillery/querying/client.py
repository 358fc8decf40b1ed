"""The one HTTP call to a teacher, on aiohttp: what is sent, and that a whole reply arrives, or why none does.

The key leaves this module only in the Authorization header.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import aiohttp
import msgspec

from distillery.api.teacher_settings import TeacherSettings
from distillery.errors import DistilleryError, StageFailed
from distillery.querying.answers import Question
from distillery.querying.cache import temperature_of


class RequestBuilder:
    """Builds request bodies; what all questions share is made once."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings = settings
        parameters = settings.parameters
        shared: dict[str, Any] = {"model": settings.model, "max_tokens": parameters.max_tokens}
        if parameters.top_p is not None:
            shared["top_p"] = parameters.top_p
        if parameters.stop:
            shared["stop"] = parameters.stop
        if parameters.top_logprobs:
            shared |= {"logprobs": True, "top_logprobs": parameters.top_logprobs}
        if settings.response_schema is not None:
            schema = {"name": "answer", "schema": settings.response_schema}
            shared["response_format"] = {"type": "json_schema", "json_schema": schema}
        self._shared = shared

    def body(self, question: Question) -> bytes:
        """Return the JSON body of one question.

        A seeded teacher would repeat itself, so each sample gets a seed of its own: seed + sample index.

        Raises: ValueError for text that UTF-8 cannot encode.
        """
        request = {
            **self._shared,
            "messages": question.messages,
            "temperature": temperature_of(self._settings, question),
        }
        if (seed := self._settings.parameters.seed) is not None:
            request["seed"] = seed + question.sample_index
        return msgspec.json.encode(request)


CONNECT_SECONDS = 30.0
"""A host that takes no connection for so long is away; the patience for an answer is no measure of that."""
KEEP_ALIVE_SECONDS = 4.0
"""Below the 5 s of common servers: a connection that the server closes while we send looks like a lost answer."""
MAX_REPLY_BYTES = 64 * 2**20
"""Far above any completion with its alternatives; it keeps a wrong address from filling the memory."""
REDACTED = "[redacted]"
SHORTEST_SECRET = 8
"""Shorter keys ("EMPTY", "none") are no secrets, and blotting them out would garble replies."""


TransportKind = Literal[
    "unreachable",  # nothing was sent, and nothing ever will be: bad address, bad certificate
    "unsent",  # nothing was sent
    "lost",  # the teacher may have worked, and billed
    "timeout",  # the same
    "too-large",  # the same
]


class TransportError(DistilleryError):
    """No whole HTTP reply arrived."""

    def __init__(self, kind: TransportKind, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole reply, with the key blotted out should the server repeat it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


class ChatClient:
    """Posts chat completion requests. Use as an async context manager.

    Redirects are not followed: the key must not travel to an address that nobody wrote down.
    """

    def __init__(self, url: str, api_key: str | None, timeout_seconds: float) -> None:
        self._url = url.rstrip("/") + "/chat/completions"
        self._key = _checked(api_key)
        self._blot = self._key if len(self._key) >= SHORTEST_SECRET else ""
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> ChatClient:
        headers = {"Content-Type": "application/json", "User-Agent": "distillery"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, body: bytes) -> HttpReply:
        """Send one request and return the reply, whatever its status.

        Raises: TransportError.
        """
        assert self._session is not None
        started = time.monotonic()
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                content = await self._read(response)
                return HttpReply(response.status, response.headers, content, time.monotonic() - started)
        except aiohttp.ClientConnectorCertificateError as error:
            what = f"its certificate cannot be verified ({error.certificate_error})"
            raise TransportError("unreachable", what) from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise TransportError("unreachable", "the address is not valid") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TransportError("unsent", f"cannot connect ({self._describe(error)})") from None
        except TimeoutError:
            seconds = time.monotonic() - started
            raise TransportError("timeout", f"no reply within {seconds:.3g} s") from None
        except aiohttp.ClientError as error:
            raise TransportError("lost", f"the connection was lost ({self._describe(error)})") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > MAX_REPLY_BYTES:
                response.close()
                raise TransportError("too-large", f"the reply is larger than {MAX_REPLY_BYTES} bytes")
            chunks.append(chunk)
        content = b"".join(chunks)
        return content.replace(self._blot.encode(), REDACTED.encode()) if self._blot else content

    def scrub(self, message: str) -> str:
        """Return a message without the key."""
        return message.replace(self._blot, REDACTED) if self._blot else message

    def _describe(self, error: Exception) -> str:
        detail = self.scrub(str(error))[:200]
        return f"{type(error).__name__}: {detail}" if detail else type(error).__name__


def _checked(api_key: str | None) -> str:
    """Return the key without outer whitespace, as files bring it.

    Raises: StageFailed(TeacherRefused) for a key that no header can carry; the message does not repeat it.
    """
    key = (api_key or "").strip()
    if not key.isascii() or not key.isprintable():
        message = "the teacher's key contains characters that no HTTP header can carry"
        raise StageFailed(
            "TeacherRefused", f"{message} → correct the Secret in spec.teacher.endpoint.apiKeySecret"
        )
    return key

"""What the Kubernetes API answers when it does not do as asked, sorted by what the caller does next.

    NotFound     the object (or, with `kind_missing`, its whole kind) is not there
    Exists       create met an object of this name: read it, adopt it or report it
    Stale        the object changed since it was read: read again
    Expired      a resourceVersion or continue token is too old: list again
    Forbidden    the API server does not allow it: rights, quota, a namespace that terminates
    Unusable     the API server will never accept this object: the message names the field
    Unavailable  a timeout, a lost connection, 429, 5xx: the same call may succeed later
    NoCluster    there is no usable kubeconfig

Pickle-safe like all of distillery's exceptions: positional arguments handed on unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery.errors import DistilleryError, TransientError
from distillery.kube.decoding import decode

MAX_MESSAGE = 1000
"""Characters of the server's message that are kept."""


class NotFound(DistilleryError):
    """No such object. With `kind_missing` the API server does not even serve its kind: a CRD is not installed."""

    def __init__(self, what: str, message: str = "", kind_missing: bool = False) -> None:
        super().__init__(what, message, kind_missing)
        self.what = what
        self.message = message
        self.kind_missing = kind_missing

    def __str__(self) -> str:
        return f"{self.what}: " + ("this kind is not installed" if self.kind_missing else "not found")


class _Answer(DistilleryError):
    """An answer of the API server about `what` with its own words."""

    def __init__(self, what: str, message: str = "") -> None:
        super().__init__(what, message)
        self.what = what
        self.message = message

    def __str__(self) -> str:
        return f"{self.what}: {self.message or type(self).__name__}"


class Exists(_Answer):
    """An object of this name exists already."""


class Stale(_Answer):
    """The object was changed by someone else since it was read, or is not the one that was meant."""


class Expired(_Answer):
    """The server no longer knows this resourceVersion or continue token."""


class Forbidden(_Answer):
    """The API server does not allow it (401, 403)."""


class Unusable(_Answer):
    """The API server understood the request and will never accept it (400, 405, 413, 415, 422)."""


class NoCluster(DistilleryError):
    """No usable configuration of a cluster was found."""


class Unavailable(TransientError):
    """The API server did not answer or asked to come again later, after `retry_after` seconds where it said so."""

    def __init__(self, what: str, message: str = "", retry_after: float | None = None) -> None:
        super().__init__(what, message, retry_after)
        self.what = what
        self.message = message
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.what}: {self.message}"


def answer_error(
    what: str, verb: str, status: int, headers: Mapping[str, str], body: bytes
) -> DistilleryError:
    """Return the error for a status other than 2xx. Args: `verb` as in RBAC (`create`, `update`, …)."""
    document = _status_document(body)
    message = str(document.get("message") or body[:MAX_MESSAGE].decode(errors="replace"))[:MAX_MESSAGE]
    reason = document.get("reason")
    if status == 404:
        details = document.get("details")
        named = isinstance(details, dict) and bool(details.get("name"))
        return NotFound(what, message, not named)
    if status == 409:
        exists = reason == "AlreadyExists" or (not reason and verb == "create")
        return Exists(what, message) if exists else Stale(what, message)
    if status == 410:
        return Expired(what, message)
    if status in (401, 403):
        return Forbidden(what, message)
    if status in (408, 429) or status >= 500:
        return Unavailable(what, f"{status} {message}".strip(), _retry_after(headers))
    return Unusable(what, message or f"status {status}")


def watch_error(what: str, document: object) -> DistilleryError:
    """Return the error for what an ERROR event of a watch carries: mostly a Status document, but nothing is certain.

    Only a forgotten version needs another list; whatever else it says, the same watch may succeed later.
    """
    status = document if isinstance(document, dict) else {}
    code, message = status.get("code"), str(status.get("message") or "an error without words")[:MAX_MESSAGE]
    if code == 410:
        return Expired(what, message)
    return Unavailable(what, f"{code} {message}" if isinstance(code, int) else message)


def _status_document(body: bytes) -> dict[str, Any]:
    try:
        document = decode(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header; the API server sends no dates."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None

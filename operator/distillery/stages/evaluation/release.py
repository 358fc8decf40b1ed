"""Publish a student under a name: model, card and reports first, release.json last, then the pointer to the newest.

A version is the first 12 characters of the evaluation's identity, so publishing it again, after a kill or by a second
writer, meets its own files. Nothing here ever moves the pointer to an older release.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distillery.artifacts import layout
from distillery.artifacts.artifact import file_digest
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import Conflict, StageFailed, TransientError

RELEASE = "release.json"
FORMAT = 1
VERSION_LENGTH = 12
TRIES = 20
"""So often the pointer is read again after another job has moved it in between."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What is published. `model` is the folder of the model, `documents` the small files beside it by path."""

    name: str
    identity: str
    model: Path
    documents: Mapping[str, bytes]
    facts: Mapping[str, Any]
    """Further entries of release.json: the task's contract, the verdict, where it came from."""

    @property
    def version(self) -> str:
        """Version of the release."""
        return self.identity[:VERSION_LENGTH]


def publish(store: ObjectStore, publication: Publication, now: float) -> str:
    """Publish and return the version. `now` is in seconds since the epoch.

    Raises: what the store raises; TransientError if the pointer could not be moved for other writers.
    """
    prefix = layout.release(publication.name, publication.version)
    release = _read(store, prefix + RELEASE)
    if release is None:
        release = _write_release(store, prefix, publication, now)
    _point(store, publication, str(release.get("createdAt", "")))
    return publication.version


def released_document(store: ObjectStore, name: str, identity: str, path: str) -> dict[str, Any] | None:
    """Return a JSON document of an evaluation's release; None before that release is complete.

    Raises: what the store raises; StageFailed(ReleaseCorrupt).
    """
    prefix = layout.release(name, identity[:VERSION_LENGTH])
    return None if _read(store, prefix + RELEASE) is None else _read(store, prefix + path)


def _write_release(store: ObjectStore, prefix: str, publication: Publication, now: float) -> dict[str, Any]:
    files = []
    for path in sorted(item for item in publication.model.rglob("*") if item.is_file()):
        name = f"model/{path.relative_to(publication.model).as_posix()}"
        store.upload(prefix + name, path)
        files.append({"path": name, "size": path.stat().st_size, "sha256": file_digest(path)})
    for name, data in sorted(publication.documents.items()):
        kept = _put_once(store, prefix + name, data)
        files.append({"path": name, "size": len(kept), "sha256": hashlib.sha256(kept).hexdigest()})
    release = {
        "format": FORMAT,
        "name": publication.name,
        "version": publication.version,
        "createdAt": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "evaluation": publication.identity,
        **publication.facts,
        "files": files,
    }
    stored: dict[str, Any] = json.loads(_put_once(store, prefix + RELEASE, _encode(release)))
    return stored


def _put_once(store: ObjectStore, key: str, data: bytes) -> bytes:
    """Write an object unless it exists; return what is stored. Reports hold timings: a second run's would differ."""
    try:
        store.put(key, data, if_absent=True)
    except Conflict:
        return store.get(key)
    return data


def _point(store: ObjectStore, publication: Publication, created_at: str) -> None:
    """Move the pointer to this release unless it names a newer one."""
    key = layout.latest(publication.name)
    pointer = _encode(
        {"format": FORMAT, "name": publication.name, "version": publication.version, "createdAt": created_at}
    )
    for _ in range(TRIES):
        stat, current = store.stat(key), _read(store, key)
        if current is not None and str(current.get("createdAt", "")) >= created_at:
            return
        try:
            if stat is None or current is None:
                store.put(key, pointer, if_absent=True)
            else:
                store.put(key, pointer, if_match=stat.etag)
        except Conflict:
            continue
        return
    raise TransientError(f"{store.uri}/{key} is being moved by others all the time: run again")


def _read(store: ObjectStore, key: str) -> dict[str, Any] | None:
    try:
        data = store.get(key)
    except MissingObject:
        return None
    try:
        return {**json.loads(data)}
    except (ValueError, TypeError):
        message = f"{store.uri}/{key} is not readable: delete it in the store and run again"
        raise StageFailed("ReleaseCorrupt", message) from None


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode()

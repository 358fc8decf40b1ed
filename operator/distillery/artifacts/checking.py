"""Shows before any work that a store can do what the rest relies on."""

from __future__ import annotations

import uuid

from distillery.artifacts import layout
from distillery.artifacts.store import ObjectStore
from distillery.errors import Conflict, StageFailed

FIRST = b"distillery checks that this store is usable"
SECOND = b"if you can read this, the store ignores conditions"


def check_store(store: ObjectStore) -> None:
    """Write, read, overwrite on condition and delete one small object.

    Raises:
        StageFailed: StoreUnusable, with what is missing: rights, space, the bucket, or conditional writes,
            without which two attempts could both believe that theirs is the artifact.
        TransientError: the server failed in a way that may pass.
    """
    key = layout.probe(uuid.uuid4().hex)
    etag = store.put(key, FIRST, if_absent=True)
    try:
        _expect_conflict(store, key, "If-None-Match", if_absent=True)
        if store.get(key) != FIRST:
            raise StageFailed(
                "StoreUnusable", f"{store.uri} returns other bytes than were written: use another store"
            )
        etag = store.put(key, FIRST + b".", if_match=etag)
        store.put(key, FIRST, if_match=etag)
        _expect_conflict(store, key, "If-Match", if_match="0" * 32)
    finally:
        store.delete(key)


def _expect_conflict(
    store: ObjectStore, key: str, header: str, if_absent: bool = False, if_match: str | None = None
) -> None:
    try:
        store.put(key, SECOND, if_absent=if_absent, if_match=if_match)
    except Conflict:
        return
    message = f"{store.uri} ignores {header}: use a server with conditional writes, or a file:/// folder"
    raise StageFailed("StoreUnusable", message)

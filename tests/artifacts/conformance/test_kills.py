"""A writer that is killed in the middle leaves nothing that others can see."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

import children
from artifacts.places import Place
from distillery.artifacts.store import ObjectStore

SENT = 24 << 20
"""Bytes that the writer gets before it is killed; more would follow."""


def kill_in_mid_upload(place: Place, key: str, pipe: Path) -> None:
    """Let another process upload from a pipe, feed it a part, and kill it."""
    os.mkfifo(pipe)
    process = place.start("upload", key, str(pipe))
    sent = threading.Event()

    def feed() -> None:
        with pipe.open("wb") as file:
            for _ in range(SENT >> 20):
                file.write(b"x" * (1 << 20))
            file.flush()
            sent.set()
            process.wait(children.PATIENCE)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        assert sent.wait(60)
        time.sleep(1.0 if place.on_s3 else 0.1)  # for the parts to reach the server
        assert process.poll() is None
    finally:
        children.end(process)
        feeder.join(30)


@pytest.mark.parametrize("before", [None, b"the version of before"], ids=["new object", "overwritten object"])
def test_a_partial_upload_is_never_visible(
    place: Place, store: ObjectStore, tmp_path: Path, before: bytes | None
) -> None:
    if before is not None:
        store.put("model/weights", before)
    started = time.time()
    kill_in_mid_upload(place, "model/weights", tmp_path / "pipe")
    if before is None:
        assert store.stat("model/weights") is None
        assert list(store.list()) == []
    else:
        assert store.get("model/weights") == before
        assert [found.size for found in store.list()] == [len(before)]
    assert store.sweep(started - 3600) == ()
    would_go = store.sweep(time.time() + 3600, dry_run=True)
    assert len(would_go) == 1
    assert store.sweep(time.time() + 3600) == would_go
    assert store.sweep(time.time() + 3600) == ()
    assert [found.key for found in store.list()] == ([] if before is None else ["model/weights"])

"""Another process that works on the same store: `contender.py URI ENDPOINT TASK ARGUMENTS…`.

It prints `ready`, waits for a line, does its task, prints the outcome.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from artifacts.places import Place
from distillery.artifacts.artifact import ArtifactWriter
from distillery.artifacts.manifest import Manifest
from distillery.artifacts.store import ObjectStore
from distillery.errors import Conflict


def create(store: ObjectStore, key: str, data: str) -> str:
    """Create an object unless it exists."""
    try:
        store.put(key, data.encode(), if_absent=True)
    except Conflict:
        return "lost"
    return "won"


def count(store: ObjectStore, key: str, times: str) -> str:
    """Add one to a number, `times` times, by reading it and writing it back if nobody else did."""
    conflicts = 0
    for _ in range(int(times)):
        while True:
            facts = store.stat(key)
            assert facts is not None
            number = int(store.get(key))
            try:
                store.put(key, str(number + 1).encode(), if_match=facts.etag)
                break
            except Conflict:
                conflicts += 1
    return f"{conflicts} conflicts"


def commit(store: ObjectStore, stage: str, identity: str) -> str:
    """Commit an artifact and tell whose it is and whose counts."""
    with tempfile.TemporaryDirectory() as folder:
        writer = ArtifactWriter(store, stage, identity, Path(folder))
        writer.write("who.txt", writer.writer_id.encode())
        manifest = writer.commit(
            lambda writer_id, files: Manifest(
                stage=stage,
                identity=identity,
                recipe="r",
                writer=writer_id,
                files=files,
                output_digest=writer_id,
            )
        )
        return f"{writer.writer_id} {manifest.writer}"


def upload(store: ObjectStore, key: str, path: str) -> str:
    """Upload a file, which may be a pipe that never ends."""
    store.upload(key, Path(path))
    return "uploaded"


TASKS = {"create": create, "count": count, "commit": commit, "upload": upload}


def main() -> None:
    uri, endpoint, task, *arguments = sys.argv[1:]
    store = Place(uri, endpoint or None).open()
    store.stat("warm-up")
    print("ready", flush=True)
    sys.stdin.readline()
    print(TASKS[task](store, *arguments), flush=True)


if __name__ == "__main__":
    main()

"""Checkpoints of an unfinished training in the store: files first, a marker with their digests last.

    checkpoints/student/<identity>/<step>-<writer>/…files, marker.json

A marker may point to files of earlier checkpoints (the best weights so far do not change at every step).
Whoever reads verifies every digest and falls back to the checkpoint before; a writer that died leaves files
without a marker, which nobody reads. The checkpoint marked `finished` holds the stage's result.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from distillery.api.base import WireModel
from distillery.artifacts import layout
from distillery.artifacts.artifact import file_digest
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import StageFailed

MARKER = "marker.json"
KEPT = 2
"""Checkpoints that stay: one to resume from, and the one before it in case that is damaged."""


class StoredFile(WireModel):
    """A file of a checkpoint, under its full key."""

    key: str
    size: int
    sha256: str


class Marker(WireModel):
    """A complete checkpoint."""

    version: int = 1
    step: int
    finished: bool = False
    files: dict[str, StoredFile]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified checkpoint: its files on local disk, by name, and where they are stored."""

    step: int
    finished: bool
    local: Mapping[str, Path]
    stored: Mapping[str, StoredFile]


class Checkpoints:
    """The checkpoints of one stage identity, written by one process at a time; a second one does no harm."""

    def __init__(
        self, store: ObjectStore, identity: str, scratch: Path, warn: Callable[[str], None] | None = None
    ) -> None:
        """`scratch` takes downloaded files; `warn` is told about damaged checkpoints."""
        self._store, self._scratch, self._warn = store, scratch, warn
        self._prefix = layout.checkpoints("student", identity)
        self._writer = uuid.uuid4().hex[:8]

    def save(
        self, step: int, files: Mapping[str, Path | StoredFile], *, finished: bool = False
    ) -> dict[str, StoredFile]:
        """Write a checkpoint: upload paths, refer to what is stored already; then drop what is outdated."""
        folder = f"{self._prefix}{step:010d}{'f' if finished else ''}-{self._writer}/"
        stored = {}
        for name, file in files.items():
            if isinstance(file, Path):
                self._store.upload(folder + name, file)
                file = StoredFile(key=folder + name, size=file.stat().st_size, sha256=file_digest(file))
            stored[name] = file
        marker = Marker(step=step, finished=finished, files=stored)
        self._store.put(folder + MARKER, marker.model_dump_json(by_alias=True).encode())
        self._prune()
        return stored

    def newest(self, *, finished: bool = False) -> Checkpoint | None:
        """Return the newest undamaged checkpoint, one with the result if there is any; None if there is none.

        `finished` asks for nothing else than the result.
        """
        for key, marker in self._markers():
            if finished and not marker.finished:
                continue
            local = self._fetch(marker)
            if local is not None:
                return Checkpoint(marker.step, marker.finished, local, marker.files)
            if self._warn is not None:
                self._warn(f"the checkpoint of step {marker.step} ({key}) is damaged; the one before is used")
        return None

    def local(self, file: StoredFile) -> Path:
        """Return a verified local copy of a stored file. Raises: StageFailed(CheckpointCorrupt)."""
        fetched = self._fetch(Marker(step=0, files={"": file}))
        if fetched is None:
            problem = f"{self._store.uri}/{file.key} does not match its digest"
            repair = f"delete {self._prefix} in the store and run again to train from the start"
            raise StageFailed("CheckpointCorrupt", f"{problem}: {repair}")
        return fetched[""]

    def _markers(self) -> Iterator[tuple[str, Marker]]:
        """Yield readable markers, the best to resume from first."""
        markers = []
        for found in self._store.list(self._prefix):
            if found.key.endswith("/" + MARKER):
                try:
                    marker = Marker.model_validate_json(self._store.get(found.key))
                except (ValidationError, MissingObject):
                    continue
                markers.append((found.key, marker))
        yield from sorted(markers, key=lambda item: (item[1].finished, item[1].step, item[0]), reverse=True)

    def _fetch(self, marker: Marker) -> dict[str, Path] | None:
        local = {}
        for name, file in marker.files.items():
            path = self._scratch / file.key.removeprefix(self._prefix)
            if not _intact(path, file):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self._store.download(file.key, path)
                except MissingObject:
                    return None
            if not _intact(path, file):
                path.unlink()
                return None
            local[name] = path
        return local

    def _prune(self) -> None:
        """Delete outdated checkpoints, markers first, and files of ours that no marker needs any more."""
        markers = list(self._markers())
        kept, outdated = markers[:KEPT], markers[KEPT:]
        needed = {file.key for _, marker in kept for file in marker.files.values()}
        for key, _ in outdated:
            self._store.delete(key)
        gone = {key.removesuffix(MARKER) for key, _ in outdated}
        for found in list(self._store.list(self._prefix)):
            folder = found.key.rpartition("/")[0] + "/"
            known = folder in gone or f"-{self._writer}/" in found.key
            if known and found.key not in needed and not found.key.endswith("/" + MARKER):
                self._store.delete(found.key)


def _intact(path: Path, file: StoredFile) -> bool:
    return path.exists() and path.stat().st_size == file.size and file_digest(path) == file.sha256

"""Artifacts as stages see them: a writer that commits once, and a reader that verifies every byte."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

from distillery.artifacts import layout
from distillery.artifacts.manifest import Manifest, ManifestFile
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import Conflict, StageFailed


def file_digest(path: Path) -> str:
    """Return the sha256 hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_manifest(store: ObjectStore, stage: str, identity: str) -> Manifest | None:
    """Return the manifest of a complete artifact, or None."""
    try:
        return Manifest.decode(store.get(layout.manifest(stage, identity)))
    except MissingObject:
        return None


class ArtifactWriter:
    """Collects files in a local folder and publishes them: payload first, manifest last.

    Every writer has a random id and a prefix of its own, so two attempts that overlap never touch each other's files;
    the first manifest wins and the loser adopts it.
    """

    def __init__(self, store: ObjectStore, stage: str, identity: str, folder: Path) -> None:
        self.store = store
        self.stage = stage
        self.identity = identity
        self.writer_id = uuid.uuid4().hex[:12]
        self.folder = folder / self.writer_id
        self.folder.mkdir(parents=True)

    def path(self, name: str) -> Path:
        """Return the local path at which to write the payload file `name` (`/` allowed); its folder exists."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Write a small payload file."""
        self.path(name).write_bytes(data)

    def commit(self, build: Callable[[str, list[ManifestFile]], Manifest]) -> Manifest:
        """Upload all files, then the manifest that `build(writer id, files)` returns; on a lost race return the winner's."""
        prefix = layout.writer(self.stage, self.identity, self.writer_id)
        files = []
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            name = path.relative_to(self.folder).as_posix()
            self.store.upload(prefix + name, path)
            files.append(ManifestFile(path=name, size=path.stat().st_size, sha256=file_digest(path)))
        manifest = build(self.writer_id, files)
        try:
            self.store.put(layout.manifest(self.stage, self.identity), manifest.encode(), if_absent=True)
        except Conflict:
            winner = find_manifest(self.store, self.stage, self.identity)
            if winner is None:
                raise
            return winner
        return manifest


class Artifact:
    """A complete artifact. Files are fetched on demand into `cache` and verified against the manifest."""

    def __init__(self, store: ObjectStore, manifest: Manifest, cache: Path) -> None:
        self.store = store
        self.manifest = manifest
        self._cache = cache / manifest.stage / manifest.identity[:16] / manifest.writer

    def local(self, name: str) -> Path:
        """Return a local, verified copy of a payload file.

        Raises: StageFailed(ArtifactCorrupt) if size or digest differ, MissingObject if the manifest lacks it.
        """
        entry = next((file for file in self.manifest.files if file.path == name), None)
        if entry is None:
            raise MissingObject(name)
        path = self._cache / name
        if not (path.exists() and path.stat().st_size == entry.size and file_digest(path) == entry.sha256):
            path.parent.mkdir(parents=True, exist_ok=True)
            key = layout.writer(self.manifest.stage, self.manifest.identity, self.manifest.writer) + name
            try:
                self.store.download(key, path)
            except MissingObject:
                raise StageFailed("ArtifactCorrupt", self._corrupt(key, "is missing")) from None
            if path.stat().st_size != entry.size or file_digest(path) != entry.sha256:
                path.unlink()
                raise StageFailed("ArtifactCorrupt", self._corrupt(key, "does not match its digest"))
        return path

    def read(self, name: str) -> bytes:
        """Return the verified bytes of a payload file."""
        return self.local(name).read_bytes()

    def folder(self, prefix: str) -> Path:
        """Fetch every file under `prefix` (such as `model/`) and return the local folder."""
        for file in self.manifest.files:
            if file.path.startswith(prefix):
                self.local(file.path)
        return self._cache / prefix

    def _corrupt(self, key: str, what: str) -> str:
        prefix = layout.artifact(self.manifest.stage, self.manifest.identity)
        return f"{self.store.uri}/{key} {what}: delete {prefix} in the store and run again to rebuild it"

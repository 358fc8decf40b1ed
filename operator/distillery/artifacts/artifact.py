"""Artifacts as stages see them: a writer that commits once, and a reader that verifies every byte."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from distillery.api.base import WireModel
from distillery.artifacts import layout
from distillery.artifacts.files import file_digest, landing
from distillery.artifacts.manifest import MANIFEST_VERSION, Manifest, ManifestFile
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import Conflict, StageFailed, TransientError

__all__ = ["CORRUPT", "TOO_NEW", "Artifact", "ArtifactWriter", "file_digest", "find_manifest"]

log = logging.getLogger(__name__)

CORRUPT = "ArtifactCorrupt"
TOO_NEW = "ArtifactTooNew"


def find_manifest(store: ObjectStore, stage: str, identity: str) -> Manifest | None:
    """Return the manifest of a complete artifact, or None.

    Raises:
        StageFailed: ArtifactCorrupt if it is unreadable or another artifact's, ArtifactTooNew if a later
            release of distillery wrote it in a form that this one does not know.
    """
    key = layout.manifest(stage, identity)
    try:
        data = store.get(key)
    except MissingObject:
        return None
    try:
        version = _Versioned.model_validate_json(data).version
        if version > MANIFEST_VERSION:
            message = f"{store.uri}/{key} has version {version}, written by a newer distillery: upgrade"
            raise StageFailed(TOO_NEW, message)
        manifest = Manifest.decode(data)
    except ValidationError:
        raise _corrupt(store, stage, identity, key, "is not a manifest") from None
    if (manifest.stage, manifest.identity) != (stage, identity):
        raise _corrupt(store, stage, identity, key, "belongs to another artifact")
    return manifest


class _Versioned(WireModel):
    """As much of any document as every release understands."""

    version: int


class ArtifactWriter:
    """Collects files in a local folder and publishes them: payload first, manifest last.

    Every writer has a random id and a prefix of its own, so two attempts that overlap never touch each
    other's files; the first manifest wins and the loser adopts it.
    """

    def __init__(self, store: ObjectStore, stage: str, identity: str, folder: Path) -> None:
        self.store = store
        self.stage = stage
        self.identity = identity
        self.writer_id = uuid.uuid4().hex[:12]
        self.folder = folder / self.writer_id
        self.folder.mkdir(parents=True)

    def path(self, name: str) -> Path:
        """Return the local path for the payload file `name` (`/` allowed); its folder exists."""
        path = self.folder / layout.check_key(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Write a small payload file."""
        self.path(name).write_bytes(data)

    def commit(self, build: Callable[[str, list[ManifestFile]], Manifest]) -> Manifest:
        """Publish the files, then the manifest; return the manifest that counts. The local folder goes.

        Args:
            build: makes the manifest from the writer id and the files; called once.

        Returns:
            Our manifest, or on a lost race the winner's; then our payload is removed from the store.

        Raises:
            TransientError: the winner's manifest was deleted while we looked at it, or the store failed.
        """
        prefix = layout.writer(self.stage, self.identity, self.writer_id)
        files = []
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            name = path.relative_to(self.folder).as_posix()
            files.append(ManifestFile(path=name, size=path.stat().st_size, sha256=file_digest(path)))
            self.store.upload(prefix + name, path)
        manifest = build(self.writer_id, files)
        try:
            self.store.put(layout.manifest(self.stage, self.identity), manifest.encode(), if_absent=True)
        except Conflict:
            manifest = self._adopt(prefix, files)
        shutil.rmtree(self.folder)
        return manifest

    def _adopt(self, prefix: str, files: list[ManifestFile]) -> Manifest:
        winner = find_manifest(self.store, self.stage, self.identity)
        if winner is None:
            message = f"the {self.stage} artifact {self.identity[:12]} was deleted while it was made"
            raise TransientError(message)
        if winner.writer == self.writer_id:  # our own manifest, whose first answer was lost
            return winner
        try:
            for file in files:
                self.store.delete(prefix + file.path)
        except (TransientError, StageFailed) as error:
            log.info("left payload of writer %s to `distillery prune`: %s", self.writer_id, error)
        return winner


class Artifact:
    """A complete artifact. Files are fetched on demand into `cache` and verified against the manifest."""

    def __init__(self, store: ObjectStore, manifest: Manifest, cache: Path) -> None:
        self.store = store
        self.manifest = manifest
        self._cache = cache / manifest.stage / manifest.identity[:16] / manifest.writer
        self._files = {file.path: file for file in manifest.files}
        self._verified: set[str] = set()

    def local(self, name: str) -> Path:
        """Return a local copy of a payload file, verified once by this reader. Not to be written to.

        Raises: StageFailed(ArtifactCorrupt) if size or digest differ, MissingObject if the manifest lacks it.
        """
        entry = self._files.get(name)
        if entry is None:
            raise MissingObject(name)
        path = self._cache / name
        if name not in self._verified:
            if not (path.exists() and _matches(path, entry)):
                self._fetch(entry, path)
            self._verified.add(name)
        return path

    def read(self, name: str) -> bytes:
        """Return the verified bytes of a payload file."""
        return self.local(name).read_bytes()

    def folder(self, prefix: str) -> Path:
        """Fetch every file under `prefix` (such as `model/`) and return the local folder."""
        for name in self._files:
            if name.startswith(prefix):
                self.local(name)
        return self._cache / prefix

    def _fetch(self, entry: ManifestFile, path: Path) -> None:
        stage, identity = self.manifest.stage, self.manifest.identity
        key = layout.writer(stage, identity, self.manifest.writer) + entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with landing(path) as part:
            try:
                self.store.download(key, part)
            except MissingObject:
                raise _corrupt(self.store, stage, identity, key, "is missing") from None
            if part.stat().st_size != entry.size:
                what = f"has {part.stat().st_size} bytes instead of {entry.size}"
                raise _corrupt(self.store, stage, identity, key, what)
            if file_digest(part) != entry.sha256:
                raise _corrupt(self.store, stage, identity, key, "does not match its digest")


def _matches(path: Path, entry: ManifestFile) -> bool:
    return path.stat().st_size == entry.size and file_digest(path) == entry.sha256


def _corrupt(store: ObjectStore, stage: str, identity: str, key: str, what: str) -> StageFailed:
    prefix = layout.artifact(stage, identity)
    return StageFailed(
        CORRUPT,
        f"{store.uri}/{key} {what}: delete {prefix} in the store and run again to rebuild it; "
        f"on a cluster ask for a rerun of {stage}",
    )

"""Finds the files of the sources and pins what they hold: (address, size, sha256), in a fixed order.

Nothing is parsed here, so pinning is as fast as hashing; it imports no heavy library and runs before every
stage.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from distillery.api.v1alpha1.dataset import SourceFormat
from distillery.artifacts.artifact import file_digest
from distillery.artifacts.manifest import digest
from distillery.artifacts.opening import OpenSource
from distillery.artifacts.store import ObjectStore
from distillery.errors import Problem, SpecError, StageFailed
from distillery.stages.dataset.globs import has_wildcard, pattern_of, segment_pattern, split_uri
from distillery.stages.dataset.problems import did_you_mean, listing
from distillery.stages.dataset.spec import SourceParams

FILE_SCHEME = "file://"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. `path` is the file itself, or the local copy of an object."""

    uri: str
    format: SourceFormat
    path: Path

    @property
    def name(self) -> str:
        """The file as messages call it: its path, or the address of the object."""
        return self.uri.removeprefix(FILE_SCHEME)


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """What a file held when it was read. `size` is in bytes."""

    uri: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """As in SourceFile."""
        return self.uri.removeprefix(FILE_SCHEME)


def pin_sources(
    sources: Sequence[SourceParams], open_source: OpenSource, cache: Path | None = None
) -> tuple[str, list[PinnedFile]]:
    """Return the digest of everything that the sources hold, and the files in the order of their addresses.

    Args:
        sources: what the spec names.
        open_source: opens the folder of objects outside this machine.
        cache: folder for copies of objects, which are fetched once; omitted: they are fetched, hashed and
            forgotten.

    Raises: as `find_sources`.
    """
    with tempfile.TemporaryDirectory(prefix="distillery-") as scratch:
        pinned = []
        for file in find_sources(sources, open_source, cache or Path(scratch)):
            with _readable(file.name, file.path):
                pinned.append(PinnedFile(file.uri, file.path.stat().st_size, file_digest(file.path)))
    return pin_digest(pinned), pinned


def pin_digest(files: Iterable[PinnedFile]) -> str:
    """Return the digest that names what was read: the parent of the dataset's identity."""
    return digest([[file.uri, file.size, file.sha256] for file in files])


def find_sources(sources: Sequence[SourceParams], open_source: OpenSource, cache: Path) -> list[SourceFile]:
    """Return the files that the sources match, sorted by address; objects are copied into `cache`.

    Raises:
        SpecError: a source matches no file, a file cannot be read or is matched under two formats.
        StageFailed, TransientError: the store of a source refuses or fails.
    """
    found: dict[str, SourceFile] = {}
    for index, source in enumerate(sources):
        for file in _files(index, source, open_source, cache):
            other = found.setdefault(file.uri, file)
            if other.format != file.format:
                message = f"{file.name} is matched as {other.format} and as {file.format}"
                raise SpecError(
                    Problem(f"spec.dataset.sources[{index}]", message, "give every file one format")
                )
    return sorted(found.values(), key=lambda file: file.uri)


def _files(index: int, source: SourceParams, open_source: OpenSource, cache: Path) -> Iterator[SourceFile]:
    field = f"spec.dataset.sources[{index}].uri"
    if source.uri.startswith(FILE_SCHEME):
        for path in _local_files(field, source.uri):
            yield SourceFile(FILE_SCHEME + path.as_posix(), source.format, path)
        return
    base, pattern = split_uri(source.uri)
    if not base.removeprefix("s3://") or base.endswith(":/") or not pattern:
        message = f"{source.uri} names no object"
        raise SpecError(Problem(field, message, "write s3://bucket/folder/*.jsonl"))
    try:
        store = open_source(base, source.endpoint, source.credentials_secret)
        for key, etag in _objects(field, source.uri, pattern, store):
            path = cache / digest([base, key, etag])[:32]
            _fetch(store, key, path)
            yield SourceFile(f"{base}/{key}", source.format, path)
    except StageFailed as error:
        message = f"{field} {source.uri}: {error.message}"
        raise StageFailed(error.reason, message, error.failure_class) from error


def _fetch(store: ObjectStore, key: str, path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    store.download(key, part)
    part.replace(path)


@contextmanager
def _readable(field: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise SpecError(Problem(field, message, "check the file and its rights")) from None


def _objects(field: str, uri: str, pattern: str, store: ObjectStore) -> Iterator[tuple[str, str]]:
    """Yield (key, etag) of the objects that match, sorted by key."""
    if not has_wildcard(pattern):
        facts = store.stat(pattern)
        if facts is None:
            raise _no_match(field, uri, pattern, [stat.key for stat in islice(store.list(""), 200)])
        yield pattern, facts.etag
        return
    prefix = pattern[: min(pattern.find(mark) for mark in "*?" if mark in pattern)]
    expression = pattern_of(pattern)
    matched = False
    seen: list[str] = []
    for stat in store.list(prefix):
        if len(seen) < 200:
            seen.append(stat.key)
        if expression.fullmatch(stat.key):
            matched = True
            yield stat.key, stat.etag
    if not matched:
        raise _no_match(field, uri, pattern, seen)


def _local_files(field: str, uri: str) -> list[Path]:
    """Return the files that match, without walking into folders that the pattern cannot reach."""
    base, pattern = split_uri(uri)
    folder = Path(base.removeprefix(FILE_SCHEME) or "/")
    with _readable(field, folder):
        if not folder.is_dir():
            message = f"{uri} matches no file: there is no folder {folder}"
            raise SpecError(Problem(field, message, "check the path; it must be absolute"))
        paths = [path for path in _walk(folder, pattern.split("/")) if path.is_file()]
        if not paths and (folder / pattern).is_dir():
            raise SpecError(Problem(field, f"{uri} is a folder", f"write {uri.rstrip('/')}/*.jsonl"))
        if not paths:
            names = sorted(path.name for path in islice(folder.iterdir(), 200))
            raise _no_match(field, uri, pattern, [name for name in names if not name.startswith(".")])
    return sorted(set(paths))


def _walk(folder: Path, pattern: Sequence[str]) -> Iterator[Path]:
    """Yield what matches the segments of a pattern below a folder; `**` follows no links to folders."""
    head, rest = pattern[0], pattern[1:]
    if not has_wildcard(head):
        path = folder / head
        if path.exists():
            yield from _walk(path, rest) if rest else [path]
        return
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    if head == "**":
        yield from _walk(folder, rest or ["*"])
        for path in entries:
            if not path.name.startswith(".") and path.is_dir() and not path.is_symlink():
                yield from _walk(path, pattern)
        return
    for path in entries:
        if segment_pattern(head).fullmatch(path.name):
            yield from _walk(path, rest) if rest else [path]


def _no_match(field: str, uri: str, pattern: str, names: Sequence[str]) -> SpecError:
    hint = did_you_mean(pattern, names)
    held = f"the folder holds: {listing(names, 6)}" if names else "the folder is empty"
    return SpecError(Problem(field, f"{uri} matches no file", hint + held))

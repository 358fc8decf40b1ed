"""The object store in a local folder.

An object is written to a hidden file, made durable, then renamed into its place under a lock between
processes: it appears whole or not at all, and of several conditional writers exactly one wins. Readers need
no lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR

from distillery.artifacts.files import landing, make_folders, sync_folder
from distillery.artifacts.layout import check_key
from distillery.artifacts.store import MissingObject, ObjectStat
from distillery.errors import Conflict, StageFailed, TransientError

HIDDEN = ".distillery-tmp"
"""Folder in the root for unfinished files and the lock; one for all, so that leftovers are found."""

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOLCK}
_REPAIRS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EACCES: "permission denied: give yourself read and write rights to the folder, or use another one",
    errno.EPERM: "not permitted: give yourself read and write rights to the folder, or use another one",
    errno.EROFS: "the file system is read-only: mount it writable, or use another folder",
    errno.EXDEV: "parts of the folder are on different disks: keep the whole store on one",
    errno.EEXIST: "a file stands where a folder is needed: remove it, or use another folder",
    errno.ENOTDIR: "a file stands where a folder is needed: remove it, or use another folder",
    errno.EISDIR: "a folder stands where a file is needed: remove it, or use another folder",
}


class DirectoryStore:
    """Objects as files below a folder, which is created by the first write."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.uri = f"file://{self.root.as_posix()}"
        self._hidden = self.root / HIDDEN

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        path = self._path(key)
        with self._explained("read", key):
            try:
                return path.read_bytes()
            except _ABSENT:
                raise MissingObject(key) from None

    def stat(self, key: str) -> ObjectStat | None:
        """Return facts, or None if there is no such object."""
        path = self._path(key)
        with self._explained("read", key):
            try:
                facts = path.stat()
            except _ABSENT:
                return None
        return None if S_ISDIR(facts.st_mode) else _stat_of(key, facts)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write an object durably and return its etag."""
        if if_absent and if_match is not None:
            raise ValueError("if_absent and if_match exclude each other")
        target = self._path(key)
        with self._explained("write", key), self._unfinished() as part:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                etag = _seal(file.fileno())
            self._publish(part, target, key, if_absent, if_match)
        return etag

    def upload(self, key: str, path: Path) -> None:
        """Copy a file of any size into the store."""
        target = self._path(key)
        with path.open("rb") as source, self._explained("write", key), self._unfinished() as part:
            with part.open("xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                _seal(file.fileno())
            self._publish(part, target, key)

    def download(self, key: str, path: Path) -> None:
        """Copy an object into a file whose folder exists."""
        origin = self._path(key)
        with self._explained("read", key):
            try:
                source = origin.open("rb")
            except _ABSENT:
                raise MissingObject(key) from None
        with source, landing(path) as part, part.open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects whose key starts with `prefix`, sorted by key."""
        folder = prefix.rpartition("/")[0]
        start = self._path(folder) if folder else self.root
        with self._explained("list", prefix):
            yield from _walk(start, folder + "/" if folder else "", prefix, frozenset())

    def delete(self, key: str) -> None:
        """Remove an object and the folders that it leaves empty."""
        path = self._path(key)
        if not self.root.is_dir():
            return
        with self._explained("delete", key), self._locked():
            try:
                path.unlink()
            except _ABSENT:
                return
            for folder in path.parents:
                if folder == self.root or not _removed(folder):
                    break

    def sweep(self, before: float, *, dry_run: bool = False) -> tuple[str, ...]:
        """Discard the unfinished files of writers that died, if last touched before this time."""
        found = []
        with self._explained("sweep", HIDDEN):
            for path in sorted(self._hidden.glob("*.part")):
                try:
                    if path.stat().st_mtime < before:
                        found.append(f"{HIDDEN}/{path.name}")
                        if not dry_run:
                            path.unlink()
                except FileNotFoundError:
                    continue  # its writer has just finished
        return tuple(found)

    def _path(self, key: str) -> Path:
        if check_key(key).split("/")[0] == HIDDEN:
            raise ValueError(f"{key!r} is no key: {HIDDEN} holds unfinished files")
        return self.root / key

    @contextmanager
    def _unfinished(self) -> Iterator[Path]:
        part = self._hidden / f"{uuid.uuid4().hex}.part"
        for folder in make_folders(self._hidden):
            sync_folder(folder)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def _publish(
        self, part: Path, target: Path, key: str, if_absent: bool = False, if_match: str | None = None
    ) -> None:
        with self._locked():
            if if_match is not None and _etag_of(target) != if_match:
                raise Conflict(key)
            # Inside the lock, since a concurrent delete removes empty folders.
            changed = make_folders(target.parent)
            if if_absent:
                _place_new(part, target, key)
            else:
                part.replace(target)
        for folder in {*changed, target.parent}:
            sync_folder(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the store's lock, only to compare and rename. Every writer takes it, else If-Match races."""
        self._hidden.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._hidden / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _explained(self, action: str, key: str) -> Iterator[None]:
        """Turn what the operating system says into what must happen next."""
        try:
            yield
        except OSError as error:
            what = f"cannot {action} {key or 'the folder'} in {self.uri}"
            if error.errno in _PASSING:
                raise TransientError(f"{what}: {error.strerror}") from error
            repair = _REPAIRS.get(
                error.errno or 0, f"{error.strerror or error}: check the folder, or use another one"
            )
            raise StageFailed("StoreUnusable", f"{what}: {repair}", "user") from error


def _seal(descriptor: int) -> str:
    """Make a written file durable and return its etag.

    The time stamp is set from the clock, because the kernel's own moves in steps of some milliseconds: two
    writes within one step could share size, time and a re-used inode.
    """
    now = time.time_ns()
    os.utime(descriptor, ns=(now, now))
    os.fsync(descriptor)
    return _etag(os.fstat(descriptor))


def _etag(facts: os.stat_result) -> str:
    return f"{facts.st_mtime_ns:x}-{facts.st_size:x}-{facts.st_ino:x}"


def _etag_of(path: Path) -> str | None:
    try:
        return _etag(path.stat())
    except _ABSENT:
        return None


def _stat_of(key: str, facts: os.stat_result) -> ObjectStat:
    return ObjectStat(key=key, size=facts.st_size, etag=_etag(facts), modified=facts.st_mtime)


def _removed(folder: Path) -> bool:
    """Remove a folder if it is empty."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def _place_new(part: Path, target: Path, key: str) -> None:
    """Move a file into its place unless the place is taken (Conflict). Runs under the lock."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise Conflict(key) from None
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            raise Conflict(key) from None
        part.replace(target)


def _walk(folder: Path, base: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[ObjectStat]:
    """Yield the objects below `folder` in the order of their keys.

    A folder sorts as if its name ended in `/`, which makes the order that of the whole keys. Links are
    followed, but not back into a folder that we are in.
    """
    try:
        facts = folder.stat()
        with os.scandir(folder) as scan:
            entries = [(entry.name + "/" if entry.is_dir() else entry.name, entry) for entry in scan]
    except _ABSENT:
        return
    identity = (facts.st_dev, facts.st_ino)
    if identity in above:
        return
    for name, entry in sorted(entries, key=lambda item: os.fsencode(item[0])):
        key = base + name
        if not (key.startswith(prefix) or prefix.startswith(key)) or key == HIDDEN + "/":
            continue
        if name.endswith("/"):
            yield from _walk(folder / entry.name, key, prefix, above | {identity})
            continue
        try:
            found = entry.stat()
        except FileNotFoundError:
            continue  # deleted since, or a link to nowhere
        if key.startswith(prefix):
            yield _stat_of(key, found)

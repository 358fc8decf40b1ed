"""The object store protocol that the directory and S3 stores implement, with one meaning of every call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distillery.errors import DistilleryError


class MissingObject(DistilleryError):
    """There is no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"{self.key} does not exist"


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """Facts about one object; `modified` is in seconds since the epoch.

    Different contents have different etags; equal contents may have different ones too (a directory gives a
    new etag with every write), so an etag serves `if_match` and nothing else: it is no digest.
    """

    key: str
    size: int
    etag: str
    modified: float


class ObjectStore(Protocol):
    """Keys are relative to `uri` and use `/` (layout.check_key). Every object appears whole or not at all.

    No key may be the folder of another (`a` beside `a/b`): a directory cannot hold both.

    Errors: MissingObject; Conflict for a lost conditional write; TransientError when another try may succeed;
    StageFailed(StoreUnusable) when the store refuses (rights, full disk, wrong bucket); ValueError for a bad
    key.
    """

    uri: str

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        ...

    def stat(self, key: str) -> ObjectStat | None:
        """Return facts, or None if there is no such object."""
        ...

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write an object durably and return its etag.

        With `if_absent` the write loses (Conflict) if the key exists (If-None-Match: *); with `if_match` it
        loses unless the object exists with this etag. Of several conditional writers exactly one wins. Giving
        both is a ValueError.
        """
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size, in parts; visible only when complete."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Fetch an object of any size into a file whose folder exists; it appears whole or not at all."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        """Yield all objects whose key starts with `prefix`, sorted by key (in the order of UTF-8 bytes)."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; removing a missing one is no error."""
        ...

    def sweep(self, before: float, *, dry_run: bool = False) -> tuple[str, ...]:
        """Discard what writers that died left behind unseen, and return a name for each.

        Only what was started before this time (seconds since the epoch).
        """
        ...

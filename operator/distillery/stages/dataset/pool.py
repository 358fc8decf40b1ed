"""The pool of distinct inputs: ids checked, duplicates dropped, `limit` kept, in any order. Pure."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from distillery.stages.dataset.problems import RowError
from distillery.stages.dataset.rows import Input
from distillery.stages.dataset.splits import rank

_SPACES = re.compile(r"\s+")
_CONFLICT = b"conflict"


def content_key(row: Input) -> bytes:
    """Return what exact duplicates share: roles and texts, up to Unicode's form and the amount of blanks."""
    hasher = hashlib.sha256()
    for message in row.messages:
        text = _SPACES.sub(" ", unicodedata.normalize("NFC", message["content"])).strip()
        hasher.update(f"{message['role']}\0{text}\0\0".encode())
    return hasher.digest()[:16]


class Ranked(NamedTuple):
    """A row and its place in the fixed random order; content breaks ties, so that arrival never matters."""

    rank: bytes
    row: Input


@dataclass(frozen=True, slots=True)
class Pooled:
    """What is left, in rank order, and what went: all of it independent of the order in which rows came."""

    rows: list[Ranked]
    read: int
    duplicates: int
    beyond_limit: int
    conflicting: int
    """Distinct inputs that came with different references."""


class Pool:
    """Takes rows one by one. Of exact duplicates it keeps the lowest rank, of all inputs the `limit` lowest.

    The order is fixed by hashes, so another row can push one out but never bring one back. Memory is that of
    the kept rows plus some 200 bytes for each row read.
    """

    def __init__(self, seed: int, limit: int | None, *, named: bool) -> None:
        """Args: seed of the order; most rows to keep; whether ids come from a column and so can clash."""
        self._seed = seed
        self._limit = limit
        self._named = named
        self._kept: dict[bytes, Ranked] = {}
        self._references: dict[bytes, bytes] = {}
        self._ids: dict[str, tuple[bytes, tuple[int, int]]] = {}
        self._highest: bytes | None = None
        self._read = 0

    def add(self, row: Input) -> tuple[int, int] | None:
        """Take a row. Return the place of an earlier row with its id and other content, which is an error."""
        self._read += 1
        content = bytes.fromhex(row.content())[:16]
        if self._named:
            known = self._ids.setdefault(row.row_id, (content, row.place))
            if known[0] != content:
                return known[1]
        key = content_key(row)
        reference = hashlib.sha256((row.reference or "").encode()).digest()[:8]
        if self._references.setdefault(key, reference) != reference:
            self._references[key] = _CONFLICT
        mine = Ranked(rank(self._seed, row.group or row.row_id, row.row_id) + content, row)
        if self._highest is not None and mine.rank > self._highest:
            return None
        other = self._kept.get(key)
        if other is None or mine.rank < other.rank:
            self._kept[key] = mine
            self._prune()
        return None

    def finish(self) -> Pooled:
        """Return what is left."""
        self._prune(last=True)
        rows = sorted(self._kept.values(), key=lambda ranked: ranked.rank)
        distinct = len(self._references)
        return Pooled(
            rows=rows,
            read=self._read,
            duplicates=self._read - distinct,
            beyond_limit=distinct - len(rows),
            conflicting=sum(value == _CONFLICT for value in self._references.values()),
        )

    def _prune(self, last: bool = False) -> None:
        """Forget rows beyond the limit, now and then: what was beyond it once can never come back."""
        limit = self._limit
        if limit is None or len(self._kept) <= (limit if last else 2 * limit + 1000):
            return
        ranked = sorted(self._kept.items(), key=lambda item: item[1].rank)[:limit]
        self._kept = dict(ranked)
        self._highest = ranked[-1][1].rank


def duplicate_id(row: Input, earlier: str) -> RowError:
    """Return the problem of a second row with the same id; `earlier` is file:line of the first."""
    message = f"the id {row.row_id!r} was already used with other content at {earlier}"
    return RowError(
        "a repeated id", message, "ids are unique; without spec.dataset.id the content names rows"
    )

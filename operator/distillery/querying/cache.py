"""Reads the answer cache: finds wanted answers, answers of certain calls, and tidies what dead engines left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from distillery.artifacts import layout
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.querying.answers import Warn
from distillery.querying.journal import ANSWERS_VERSION, SEAL_BYTES, AnswerJournal, AnswerRecord, Header
from distillery.querying.records import decode_records

READERS = 8
"""Objects read at once: one after the other, a remote store would take a round trip each."""
LISTINGS = 5


class _Peek(msgspec.Struct):
    """The fields by which a record is chosen; decoding the rest is put off."""

    key: str
    call: str
    top: int


T = TypeVar("T")


class AnswerCache:
    """The answers of one teacher, by all engines. Damaged or newer records are skipped with a warning."""

    def __init__(self, store: ObjectStore, teacher: str, warn: Warn) -> None:
        self._store = store
        self._teacher = teacher
        self._warn = warn

    def find(self, wanted: Mapping[str, int]) -> dict[str, AnswerRecord]:
        """Return the stored answers to `wanted`: key → alternatives needed.

        Where a key has several answers (a teacher is not always deterministic), the same one is chosen
        every time: most alternatives, then the lowest call.
        """
        if not wanted:
            return {}
        best: dict[str, tuple[tuple[int, str], bytes]] = {}
        for record in self._records():
            peek = decode_or_none(record, _Peek)
            if peek is None or peek.top < wanted.get(peek.key, peek.top + 1):
                continue
            rank = (-peek.top, peek.call)
            if peek.key not in best or rank < best[peek.key][0]:
                best[peek.key] = (rank, record)
        found = ((key, decode_or_none(record, AnswerRecord)) for key, (_, record) in best.items())
        return {key: record for key, record in found if record is not None}

    def find_calls(self, calls: frozenset[str]) -> dict[str, AnswerRecord]:
        """Return the stored answers of these calls, by call."""
        found = {}
        for record in self._records():
            peek = decode_or_none(record, _Peek)
            if peek is not None and peek.call in calls:
                answer = decode_or_none(record, AnswerRecord)
                if answer is not None:
                    found[peek.call] = answer
        return found

    def tidy(self, journal: AnswerJournal) -> None:
        """Merge the small objects that engines left behind when they were killed into segments of `journal`.

        Should one of them be alive after all, nothing is lost: its later seal repeats some answers.
        """
        records: list[bytes] = []
        keys: list[str] = []
        size = 0
        for key, data in self._objects(layout.answers(self._teacher) + "journal/"):
            if (mine := self._intact(key, data)) is None:
                continue
            records += mine
            keys.append(key)
            size += len(data)
            if size >= SEAL_BYTES:
                self._replace(journal, records, keys)
                records, keys, size = [], [], 0
        self._replace(journal, records, keys)

    def _replace(self, journal: AnswerJournal, records: Sequence[bytes], keys: Sequence[str]) -> None:
        if records:
            journal.write_segment(records)
        for key in keys:
            self._store.delete(key)

    def _records(self) -> Iterator[bytes]:
        for key, data in self._objects(layout.answers(self._teacher)):
            yield from self._intact(key, data) or ()

    def _intact(self, key: str, data: bytes) -> list[bytes] | None:
        """Return the undamaged records of an object; None if it is of a version that we cannot read."""
        records, damaged = decode_records(data)
        header = decode_or_none(records[0], Header) if records else None
        if header is not None and header.version > ANSWERS_VERSION:
            self._warn(f"{self._store.uri}/{key} was written by a newer distillery and is skipped")
            return None
        if damaged:
            what = f"{damaged} damaged record(s), which are skipped: their answers are bought again"
            self._warn(f"{self._store.uri}/{key} holds {what}")
        return records if header is None else records[1:]

    def _objects(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Yield every object under a prefix once; one that is sealed meanwhile turns up in its segment."""
        seen: set[str] = set()
        for _ in range(LISTINGS):
            keys = [stat.key for stat in self._store.list(prefix) if stat.key not in seen]
            vanished = False
            for key, data in read_objects(self._store, keys):
                if data is None:
                    vanished = True
                else:
                    seen.add(key)
                    yield key, data
            if not vanished:
                return


def read_objects(store: ObjectStore, keys: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
    """Yield each key with its object, in order; None for one that no longer exists."""

    def get(key: str) -> bytes | None:
        try:
            return store.get(key)
        except MissingObject:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(keys), READERS):
            some = keys[start : start + READERS]
            yield from zip(some, pool.map(get, some), strict=True)


def decode_or_none(record: bytes, kind: type[T]) -> T | None:
    """Return a record as `kind`, or None if it is something else."""
    try:
        return msgspec.json.decode(record, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None

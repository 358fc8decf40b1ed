"""Writes the ledger of one engine: groups of entries, and from time to time their sum in place of them.

The sum is written before the groups go, and says up to which group it counts: a crash at any point counts
nothing twice and loses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from distillery.artifacts import layout
from distillery.artifacts.store import ObjectStore
from distillery.querying.entries import Entry, WriterState
from distillery.querying.records import encode_record, encode_records

SEAL_OBJECTS = 256


class LedgerLog:
    """The log of one engine (see commit.Log)."""

    def __init__(self, store: ObjectStore, uid: str, writer: str) -> None:
        self._store = store
        self._uid = uid
        self._writer = writer
        self._state = WriterState()
        self._lock = threading.Lock()
        self._sealed = -1
        self._sequence = 0

    def write(self, records: Sequence[bytes]) -> None:
        """Make the entries durable, as one object."""
        self._store.put(
            layout.ledger_entries(self._uid, self._writer, self._sequence), encode_records(records)
        )
        with self._lock:
            for record in records:
                self._state.apply(msgspec.json.decode(record, type=Entry))
            self._state.through = self._sequence
            self._sequence += 1

    def due(self) -> bool:
        """Return whether enough small objects have gathered to seal them."""
        return self._sequence - self._sealed > SEAL_OBJECTS

    def seal(self) -> None:
        """Replace the small objects by their sum."""
        with self._lock:
            state, through = msgspec.json.encode(self._state), self._state.through
        if through > self._sealed:
            self._store.put(layout.ledger_state(self._uid, self._writer), encode_record(state))
            for sequence in range(self._sealed + 1, through + 1):
                self._store.delete(layout.ledger_entries(self._uid, self._writer, sequence))
            self._sealed = through

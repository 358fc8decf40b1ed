"""The answer journal: what a paid answer looks like on disk, and the log that makes answers durable.

Each engine writes small objects under a random writer id of its own, and merges them into segments: while
it runs, when many have gathered, and all when it closes. The segment is written before the small objects
go, so a crash at any point loses nothing; an answer found twice is the same answer.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import msgspec

from distillery.artifacts import layout
from distillery.artifacts.store import ObjectStore
from distillery.querying.answers import Answer, Question, TokenLogprob, Usage
from distillery.querying.records import encode_records

ANSWERS_VERSION = 1
SEAL_OBJECTS = 512
SEAL_BYTES = 8 * 2**20


class Header(msgspec.Struct, frozen=True, omit_defaults=False):
    """First record of every journal and ledger object."""

    kind: str
    version: int


HEADER = msgspec.json.encode(Header("answers", ANSWERS_VERSION))


class AnswerRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One paid answer. `key` names the question, `call` the ledger's entry, `top` the alternatives asked for."""

    key: str
    call: str
    top: int
    text: str
    finish: str | None = None
    refusal: str | None = None
    usage: tuple[int, int, int] | None = None
    """Prompt, cached prompt and completion tokens; None if the teacher did not tell."""
    model: str | None = None
    fingerprint: str | None = None
    seconds: float = 0.0
    logprobs: list[tuple[str, float, list[tuple[str, float]]]] | None = None

    def answer(self, question: Question, top: int, *, cached: bool) -> Answer:
        """Return the answer to a question that asked for `top` alternatives."""
        logprobs = None
        if top and self.logprobs is not None:
            logprobs = [TokenLogprob(token, value, rest[:top]) for token, value, rest in self.logprobs]
        return Answer(
            question=question,
            key=self.key,
            text=self.text,
            finish_reason=self.finish,
            refusal=self.refusal,
            usage=Usage(*self.usage) if self.usage else Usage(),
            model=self.model,
            fingerprint=self.fingerprint,
            logprobs=logprobs,
            cached=cached,
            seconds=self.seconds,
        )


class AnswerJournal:
    """The log of one engine (see commit.Log)."""

    def __init__(self, store: ObjectStore, teacher: str, writer: str) -> None:
        self._store = store
        self._teacher = teacher
        self._writer = writer
        self._sequence = 0
        self._segments = 0
        self._lock = threading.Lock()
        self._loose: list[tuple[str, Sequence[bytes]]] = []
        self._loose_bytes = 0

    def write(self, records: Sequence[bytes]) -> None:
        """Make the records durable, as one object."""
        key = layout.answer_journal(self._teacher, self._writer, self._sequence)
        data = encode_records([HEADER, *records])
        self._store.put(key, data)
        self._sequence += 1
        with self._lock:
            self._loose.append((key, records))
            self._loose_bytes += len(data)

    def due(self) -> bool:
        """Return whether enough small objects have gathered to seal them."""
        return len(self._loose) >= SEAL_OBJECTS or self._loose_bytes >= SEAL_BYTES

    def seal(self) -> None:
        """Merge this engine's small objects into a segment."""
        with self._lock:
            loose, self._loose, self._loose_bytes = self._loose, [], 0
        if loose:
            self.write_segment([record for _, records in loose for record in records])
            for key, _ in loose:
                self._store.delete(key)

    def write_segment(self, records: Sequence[bytes]) -> None:
        """Write records as a new segment."""
        with self._lock:
            sequence, self._segments = self._segments, self._segments + 1
        key = layout.answer_segment(self._teacher, self._writer, sequence)
        self._store.put(key, encode_records([HEADER, *records]))

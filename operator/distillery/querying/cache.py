"""The answer cache: by what name an answer is found again, how it lies in the journal, and who reads it.

An answer's key is a digest of everything that changes it. `topLogprobs` is left out: an answer with more alternatives
serves a question for fewer. So are the address, the key and the labels, which the teacher never sees.

Each engine writes small objects under a random writer id of its own, and merges them into segments: while it runs,
when many have gathered, and all when it closes. The segment is written before the small objects go, so a crash at any
point loses nothing; an answer found twice is the same answer. What engines leave that were killed is tidied by the
next.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from distillery.api.teacher_settings import TeacherSettings
from distillery.artifacts import layout
from distillery.artifacts.manifest import digest
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.querying.answers import Answer, Question, TokenLogprob, Usage, Warn
from distillery.querying.replies import Completed
from distillery.querying.wal import decode_records, encode_records

KEY_VERSION = 1


def teacher_digest(settings: TeacherSettings) -> str:
    """Return the name of the teacher's part of the answer cache."""
    return digest({"version": KEY_VERSION, "identity": settings.identity})


def key_base(settings: TeacherSettings) -> dict[str, object]:
    """Return the part of the key material that all questions to one teacher share."""
    parameters = settings.parameters
    return {
        "version": KEY_VERSION,
        "identity": settings.identity,
        "model": settings.model,
        "revision": settings.revision,
        "maxTokens": parameters.max_tokens,
        "topP": parameters.top_p,
        "stop": parameters.stop,
        "seed": parameters.seed,
        "schema": settings.response_schema,
    }


def question_key(base: dict[str, object], settings: TeacherSettings, question: Question) -> str:
    """Return the key of one question, given `key_base(settings)`."""
    return digest(
        {
            **base,
            "temperature": temperature_of(settings, question),
            "messages": question.messages,
            "sample": question.sample_index,
        }
    )


def temperature_of(settings: TeacherSettings, question: Question) -> float:
    """Return the temperature at which a question is asked."""
    own = question.temperature
    return float(settings.parameters.temperature if own is None else own)


ANSWERS_VERSION = 1
SEAL_OBJECTS = 512
SEAL_BYTES = 8 * 2**20
"""So many small objects, or bytes in them, become a segment: reading takes a round trip per object, and a segment must
fit into memory."""


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

    @classmethod
    def of(cls, answer: Completed, key: str, call: str, top: int, seconds: float) -> AnswerRecord:
        """Return what is kept of a teacher's reply."""
        usage, logprobs = answer.usage, answer.logprobs
        return cls(
            key=key,
            call=call,
            top=top,
            text=answer.text,
            finish=answer.finish_reason,
            refusal=answer.refusal,
            usage=(usage.prompt, usage.cached, usage.completion) if usage else None,
            model=answer.model,
            fingerprint=answer.fingerprint,
            seconds=round(seconds, 4),
            logprobs=None if logprobs is None else [(one.token, one.logprob, one.top) for one in logprobs],
        )

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
    """The log of one engine (see wal.Log)."""

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


READERS = 8
"""Objects read at once: one after the other, a remote store would take a round trip each."""
LISTINGS = 5
"""Objects that vanish while they are read were sealed: so often is looked again for where they went."""


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

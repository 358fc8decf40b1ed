"""The ledger of one object: every call is entered before it is sent and settled afterwards. Amounts are picos.

Each engine has a writer id of its own and writes numbered groups of entries, and from time to time their sum, the
state, in place of them. The sum is written before the groups go, and says up to which group it counts: a crash at any
point counts nothing twice and loses nothing. Whoever reads takes each state and the groups after it. A call without
an outcome whose engine is gone counts with what was reserved, as unknown, unless its answer stands in the answer
journal: then with what that says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from distillery.artifacts import layout
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import TransientError
from distillery.querying.answers import Usage, Warn
from distillery.querying.cache import AnswerCache, decode_or_none, read_objects
from distillery.querying.cost import Prices, to_micro
from distillery.querying.wal import decode_records, encode_record, encode_records

LEDGER_VERSION = 1


class Tally(msgspec.Struct, omit_defaults=True):
    """Sums over calls. `unknown` bounds what calls with a lost outcome may have cost, beside `spent`."""

    spent: int = 0
    unknown: int = 0
    calls: int = 0
    """Calls that were billed, or may have been."""
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def add(self, entry: Settlement) -> None:
        """Count one settled call."""
        self.spent += entry.spent
        self.unknown += entry.unknown
        self.calls += entry.outcome != "unpaid"
        self.prompt += entry.prompt
        self.cached += entry.cached
        self.completion += entry.completion

    def merge(self, other: Tally) -> None:
        """Add the sums of another tally."""
        self.spent += other.spent
        self.unknown += other.unknown
        self.calls += other.calls
        self.prompt += other.prompt
        self.cached += other.cached
        self.completion += other.completion


class Opened(msgspec.Struct, frozen=True, tag="opened", tag_field="entry"):
    """First entry of an engine. `prices` are picos per prompt, cached prompt and completion token."""

    stage: str
    attempt: int
    teacher: str
    """Digest under which its answers are cached: an answer there settles a call whose outcome is lost."""
    prices: tuple[int, int, int]
    currency: str
    version: int = LEDGER_VERSION


class Intent(msgspec.Struct, frozen=True, tag="intent", tag_field="entry"):
    """Written before a call is sent: it will cost `reserved` at most."""

    call: str
    reserved: int


class Settlement(msgspec.Struct, frozen=True, tag="settled", tag_field="entry", omit_defaults=True):
    """Written after a call: what it cost, nothing, or nobody knows (then `unknown` is what was reserved)."""

    call: str
    outcome: Literal["paid", "unpaid", "unknown"]
    spent: int = 0
    unknown: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0


Entry = Opened | Intent | Settlement


class WriterState(msgspec.Struct, tag="state", tag_field="entry", omit_defaults=True):
    """What the entries of one engine add up to, up to object `through`."""

    version: int = LEDGER_VERSION
    through: int = -1
    opened: Opened | None = None
    tally: Tally = msgspec.field(default_factory=Tally)
    open: dict[str, int] = msgspec.field(default_factory=dict)
    """Calls without an outcome yet, and what they may cost."""
    foreign: dict[str, Settlement] = msgspec.field(default_factory=dict)
    """Outcomes of calls of other engines, found after those had died."""

    def apply(self, entry: Entry) -> None:
        """Count one entry."""
        match entry:
            case Opened():
                self.opened = entry
            case Intent():
                self.open[entry.call] = entry.reserved
            case Settlement() if self.open.pop(entry.call, None) is not None:
                self.tally.add(entry)
            case Settlement():
                self.foreign[entry.call] = entry


READINGS = 5
"""A writer seals at most every few hundred objects, so a second reading nearly always finds all."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spending:
    """What a stage, or the whole object, paid its teacher. Amounts in micros, rounded up."""

    spent_micro: int = 0
    unknown_micro: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0

    @classmethod
    def of(cls, tally: Tally) -> Spending:
        """Convert sums in picos."""
        return cls(
            to_micro(tally.spent),
            to_micro(tally.unknown),
            tally.calls,
            tally.prompt,
            tally.cached,
            tally.completion,
        )


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """Spending over all attempts."""

    total: Spending = Spending()
    stages: dict[str, Spending] = field(default_factory=dict)
    exact: Tally = field(default_factory=Tally)
    """The total in picos."""
    recovered: tuple[Settlement, ...] = ()
    """Outcomes of calls that their engines did not live to settle; whoever asks next enters them."""

    @property
    def spent_micro(self) -> int:
        """Known spend."""
        return self.total.spent_micro

    @property
    def unknown_micro(self) -> int:
        """The most that calls with a lost outcome may have cost, beside the known spend."""
        return self.total.unknown_micro


def read_ledger(store: ObjectStore, uid: str, warn: Warn = lambda _: None) -> LedgerTotals:
    """Return what the object has cost so far, over all attempts. Nothing is written.

    Raises: TransientError, StageFailed(StoreUnusable) if the store cannot be read.
    """
    writers = _read_writers(store, uid, warn)
    foreign = {call: entry for state in writers for call, entry in state.foreign.items()}
    recovered = _recover(store, writers, foreign, warn)
    settled = foreign | {entry.call: entry for entry in recovered}
    stages: dict[str, Tally] = {}
    for state in writers:
        tally = stages.setdefault(state.opened.stage if state.opened else "unknown", Tally())
        tally.merge(state.tally)
        for call in state.open:
            tally.add(settled[call])
    exact = Tally()
    for tally in stages.values():
        exact.merge(tally)
    spending = {stage: Spending.of(tally) for stage, tally in sorted(stages.items())}
    return LedgerTotals(Spending.of(exact), spending, exact, recovered)


@dataclass(frozen=True, slots=True)
class WriterTotals:
    """What one writer that is gone has cost, its lost calls included, and what became of those."""

    tally: Tally
    recovered: tuple[Settlement, ...]


def read_writer(store: ObjectStore, uid: str, writer: str, warn: Warn = lambda _: None) -> WriterTotals:
    """Return what a writer that is gone has cost. Raises: as `read_ledger`."""
    state = _patiently(uid, lambda: _read_writer(store, uid, writer, warn))
    recovered = _recover(store, [state], {}, warn)
    tally = Tally()
    tally.merge(state.tally)
    for entry in recovered:
        tally.add(entry)
    return WriterTotals(tally, recovered)


def _recover(
    store: ObjectStore, writers: Sequence[WriterState], known: Mapping[str, Settlement], warn: Warn
) -> tuple[Settlement, ...]:
    """Find out what became of calls that no engine settled."""
    recovered: list[Settlement] = []
    lost: dict[str, list[tuple[str, int, Prices]]] = {}
    for state in writers:
        teacher, prices = "", Prices()
        if state.opened is not None:
            teacher, prices = state.opened.teacher, Prices(*state.opened.prices)
        for call, reserved in state.open.items():
            if call not in known:
                lost.setdefault(teacher, []).append((call, reserved, prices))
    for teacher, calls in sorted(lost.items()):
        names = frozenset(call for call, _, _ in calls)
        answers = AnswerCache(store, teacher, warn).find_calls(names) if teacher else {}
        for call, reserved, prices in calls:
            answer = answers.get(call)
            usage = Usage(*answer.usage) if answer is not None and answer.usage is not None else None
            recovered.append(settle(call, reserved, prices, usage))
    return tuple(recovered)


def settle(call: str, reserved: int, prices: Prices, usage: Usage | None) -> Settlement:
    """Return the outcome of a call that was answered with this usage, or whose usage is not known."""
    if usage is None:
        return Settlement(call, "unknown", unknown=reserved)
    cached = min(usage.cached, usage.prompt)
    return Settlement(call, "paid", prices.cost(usage), 0, usage.prompt, cached, usage.completion)


def _read_writers(store: ObjectStore, uid: str, warn: Warn) -> list[WriterState]:
    return _patiently(
        uid, lambda: [_read_writer(store, uid, writer, warn) for writer in _writers(store, uid)]
    )


def _patiently(uid: str, read: Callable[[], T]) -> T:
    for _ in range(READINGS):
        try:
            return read()
        except MissingObject:
            continue  # an engine replaced its groups by their sum meanwhile: the sum is there now
    raise TransientError(f"the ledger under {layout.ledger(uid)} changes faster than it can be read")


def _writers(store: ObjectStore, uid: str) -> list[str]:
    prefix = layout.ledger(uid)
    return sorted({stat.key.removeprefix(prefix).split("/")[0] for stat in store.list(prefix)})


def _read_writer(store: ObjectStore, uid: str, writer: str, warn: Warn) -> WriterState:
    """Read the state, then the groups after it; in this order, for the groups go when the state has them.

    Raises: MissingObject if the engine was faster.
    """
    prefix = f"{layout.ledger(uid)}{writer}/"
    keys = [stat.key for stat in store.list(prefix)]
    state = WriterState()
    state_key = layout.ledger_state(uid, writer)
    if store.stat(state_key) is not None:
        for record in _intact(store, state_key, store.get(state_key), warn):
            state = decode_or_none(record, WriterState) or state
    later = [key for key in keys if _sequence(key) > state.through]
    for key, data in read_objects(store, later):
        if data is None:
            raise MissingObject(key)
        for record in _intact(store, key, data, warn):
            try:
                state.apply(msgspec.json.decode(record, type=Entry))
            except msgspec.MsgspecError:
                continue  # an entry of a kind that a newer distillery writes
    return state


def _sequence(key: str) -> int:
    name = key.rsplit("/", 1)[1]
    return int(name) if name.isdecimal() else -1


def _intact(store: ObjectStore, key: str, data: bytes, warn: Warn) -> list[bytes]:
    records, damaged = decode_records(data)
    if damaged:
        warn(f"{store.uri}/{key} holds {damaged} damaged ledger record(s): the sums may be too low")
    return records


SEAL_OBJECTS = 256
"""So many small objects are summed up: a killed engine leaves no more than these to read."""


class LedgerLog:
    """The log of one engine (see wal.Log)."""

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

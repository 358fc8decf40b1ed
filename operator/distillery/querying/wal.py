"""The write-ahead log under journal and ledger: records as lines with a checksum, and their group commit.

A line is `<crc32 of the payload, 8 hex digits> <payload>\\n`, where the payload is a JSON object, or, for long ones,
the base64 of its zlib compression. Neither contains a line end, so a damaged record never takes its neighbours with
it.

Group commit: records of many calls become durable together, at most one object per interval. The first record of a
quiet time is written at once; what arrives while a write is under way, or within the interval after it began, goes
into the next one. A crash loses at most that.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import time
import zlib
from collections.abc import Iterable, Sequence
from typing import Protocol

from distillery.errors import DistilleryError, TransientError

COMPRESS_FROM = 2048
"""Bytes of JSON from which compression pays, base64 included."""


def encode_record(record: bytes) -> bytes:
    """Return the line of one record, which must be a JSON object without line ends."""
    if len(record) >= COMPRESS_FROM:
        record = base64.b64encode(zlib.compress(record, 1))
    return b"%08x %s\n" % (zlib.crc32(record), record)


def encode_records(records: Iterable[bytes]) -> bytes:
    """Return the lines of several records."""
    return b"".join(map(encode_record, records))


def decode_records(data: bytes) -> tuple[list[bytes], int]:
    """Return the records of a journal object that are intact, and how many lines were not."""
    records, damaged = [], 0
    for line in data.split(b"\n"):
        if not line:
            continue
        record = _decode_line(line)
        if record is None:
            damaged += 1
        else:
            records.append(record)
    return records, damaged


def _decode_line(line: bytes) -> bytes | None:
    payload = line[9:]
    if len(line) < 10 or line[:9] != b"%08x " % zlib.crc32(payload):
        return None
    if payload.startswith(b"{"):
        return payload
    try:
        return zlib.decompress(base64.b64decode(payload, validate=True))
    except (binascii.Error, zlib.error, ValueError):
        return None


MAX_RECORDS = 1000
"""Lazy records that are written although nobody waits: as many as a crash may cost, and as memory may hold."""


class Log(Protocol):
    """Where records go; called from one thread at a time, except `seal`, which may run beside `write`."""

    def write(self, records: Sequence[bytes]) -> None:
        """Make the records durable, as one object."""
        ...

    def due(self) -> bool:
        """Return whether enough small objects have gathered to seal them."""
        ...

    def seal(self) -> None:
        """Merge small objects into one."""
        ...


class GroupCommit:
    """Writes records to a log in groups. Use as an async context manager: leaving it makes everything durable.

    After a failed write nothing more is accepted: `append` and leaving raise the error.
    """

    def __init__(self, log: Log, interval: float, lazy_interval: float | None = None) -> None:
        self._log = log
        self._interval = interval
        self._lazy_interval = interval if lazy_interval is None else lazy_interval
        self._records: list[bytes] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._durable: asyncio.Future[None] = self._new_future()
        self._error: Exception | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._sealing: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> GroupCommit:
        self._writer = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._writer is not None
        self._closing = True
        self._wake.set()
        await self._writer
        if self._alarm is not None:
            self._alarm.cancel()
        if self._sealing is not None:
            await self._sealing
        if self._error is not None:
            raise self._error

    def append(self, record: bytes, *, lazy: bool = False) -> asyncio.Future[None]:
        """Take a record; the future, shared by its group, is done when it is durable (await it shielded).

        A lazy record waits for the lazy interval or the next eager one.

        Raises: StageFailed, TransientError: whatever made an earlier write fail.
        """
        if self._error is not None:
            raise self._error
        self._records.append(record)
        if not lazy or len(self._records) >= MAX_RECORDS:
            self._wake.set()
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(self._lazy_interval, self._wake.set)
        return self._durable

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            started = time.monotonic()
            if self._records and self._error is None:
                await self._flush()
            if self._closing and (not self._records or self._error is not None):
                return
            rest = self._interval - (time.monotonic() - started)
            if rest > 0 and not self._closing:
                await self._rest(rest)
            if self._closing:
                self._wake.set()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not past the close."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.05))

    async def _flush(self) -> None:
        records, durable = self._records, self._durable
        self._records, self._durable = [], self._new_future()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        try:
            await asyncio.to_thread(self._write, records)
        except Exception as error:  # noqa: BLE001  the border to the store: whoever waits must learn of it
            self._error = error
            durable.set_exception(error)
            self._durable.set_exception(error)
            return
        durable.set_result(None)
        if self._log.due() and (self._sealing is None or self._sealing.done()):
            self._sealing = asyncio.create_task(asyncio.to_thread(self._seal))

    def _write(self, records: list[bytes]) -> None:
        # About four seconds: a store that stays away longer is the attempt's trouble, and calls go on meanwhile.
        for wait in (0.2, 0.5, 1.0, 2.0, None):
            try:
                return self._log.write(records)
            except TransientError:
                if wait is None:
                    raise
                time.sleep(wait)

    def _seal(self) -> None:
        # Housekeeping: what is wrong with the store shows at the next write.
        with contextlib.suppress(DistilleryError):
            self._log.seal()

    @staticmethod
    def _new_future() -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Most records are not waited for; an error reaches everyone through `append` and the exit.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

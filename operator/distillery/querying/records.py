"""How journal and ledger records become bytes: one line each, with a checksum of its own. Pure.

`<crc32 of the payload, 8 hex digits> <payload>\\n`, where the payload is a JSON object, or, for long ones,
the base64 of its zlib compression. Neither contains a line end, so a damaged record never takes its
neighbours with it.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable

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

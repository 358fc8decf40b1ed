"""Reading JSONL: bytes of a file → one JSON object per line, with exact line numbers, read once."""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from distillery.stages.dataset.problems import RowError

MAX_ROW_BYTES = 1024 * 1024
"""A row is one request to a model; one of more than 1 MiB is a broken file, not a long prompt."""

CHUNK_BYTES = 1024 * 1024
MAGIC = {
    b"\x1f\x8b": "gzip-compressed: decompress it first (gunzip)",
    b"\x28\xb5\x2f\xfd": "zstd-compressed: decompress it first (unzstd)",
    b"BZh": "bzip2-compressed: decompress it first (bunzip2)",
    b"PK\x03\x04": "a zip archive: unpack it first",
    b"PAR1": "a Parquet file: export it as JSONL",
    codecs.BOM_UTF16_LE: "UTF-16 text: convert it with iconv -f utf-16 -t utf-8",
    codecs.BOM_UTF16_BE: "UTF-16 text: convert it with iconv -f utf-16 -t utf-8",
}


class JsonLines:
    """The records of one file. After the last one, `sha256` and `size` are those of the whole file."""

    def __init__(self, path: Path, on_problem: Callable[[int, RowError], None]) -> None:
        self._path = path
        self._on_problem = on_problem
        self._hasher = hashlib.sha256()
        self.size = 0
        """Bytes read so far."""

    @property
    def sha256(self) -> str:
        """Digest of what was read so far."""
        return self._hasher.hexdigest()

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line number from 1, object); wrong lines go to `on_problem`, blank ones are skipped."""
        with self._path.open("rb") as file:
            number = 0
            while raw := self._line(file):
                number += 1
                try:
                    record = parse_line(raw, first=number == 1)
                except RowError as problem:
                    self._on_problem(number, problem)
                    if problem.kind == "the wrong kind of file":
                        return
                    continue
                if record is not None:
                    yield number, record

    def _line(self, file: BinaryIO) -> bytes:
        """Return the next line, cut off one byte after the limit; the rest of a longer one is only hashed."""
        raw = self._read(file, MAX_ROW_BYTES + 3)
        if raw.endswith(b"\n") or len(raw) < MAX_ROW_BYTES + 3:
            return raw
        size = len(raw)
        while part := self._read(file, CHUNK_BYTES):
            size += len(part.rstrip(b"\r\n"))
            if part.endswith(b"\n"):
                break
        return _Oversized(raw, size)

    def _read(self, file: BinaryIO, most: int) -> bytes:
        raw = file.readline(most)
        self._hasher.update(raw)
        self.size += len(raw)
        return raw


class _Oversized(bytes):
    """The beginning of a line that is too long, with the size of the whole."""

    size: int

    def __new__(cls, raw: bytes, size: int) -> _Oversized:
        self = super().__new__(cls, raw)
        self.size = size
        return self


def parse_line(raw: bytes, *, first: bool) -> dict[str, Any] | None:
    """Return the object of a line, or None for a blank one.

    A byte order mark before the first line is skipped; CRLF is a line end.

    Raises: RowError for a line that is too long, no UTF-8, no JSON, or no object.
    """
    if first:
        for magic, what in MAGIC.items():
            if raw.startswith(magic):
                raise RowError("the wrong kind of file", f"this is {what}", "sources are JSONL in UTF-8")
    size = raw.size if isinstance(raw, _Oversized) else len(raw.rstrip(b"\r\n"))
    if size > MAX_ROW_BYTES:
        message = f"the row has {size:,} bytes, more than the limit of {MAX_ROW_BYTES:,}"
        raise RowError("too many bytes", message, "shorten or remove it; is a newline missing?")
    text = _decode(raw.rstrip(b"\r\n"), first=first)
    return _parse(text) if text.strip() else None


def _decode(raw: bytes, *, first: bool) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not valid UTF-8"
        repair = "save the file as UTF-8, for example with iconv -f latin1 -t utf-8"
        raise RowError("invalid UTF-8", message, repair) from None
    return text.removeprefix("\ufeff") if first else text


def _parse(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        # Text that cannot be encoded (a lone surrogate escape) would fail later, far from its line.
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
        spread = text.strip() in ("[", "{")
        repair = "one JSON object per line; jq -c '.[]' makes them of an array" if spread else ""
        raise RowError("invalid JSON", message, repair or "write one JSON object per line") from None
    except UnicodeEncodeError:
        message = "holds half of a surrogate pair (\\ud800 to \\udfff), which is not text"
        raise RowError("invalid text", message, "write the whole character or remove it") from None
    except RecursionError:
        raise RowError("invalid JSON", "the row is nested too deeply", "flatten it") from None
    except ValueError as error:
        raise RowError("invalid JSON", f"not valid JSON: {error}", "write a number or null") from None
    if isinstance(value, dict):
        return value
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    what = kinds.get(type(value), "a number")
    repair = "write one object per line; jq -c '.[]' unpacks an array" if what == "an array" else ""
    raise RowError("no object", f"the line is {what}, not an object", repair or "write one object per line")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

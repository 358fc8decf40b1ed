"""The one YAML loader: text in, one mapping of JSON values out, every value with its line. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distillery.api.building import Marks, build
from distillery.api.dumping import dump_yaml
from distillery.errors import Problem, SpecError

__all__ = ["Document", "dump_yaml", "load_document", "load_value", "load_yaml"]

MAX_BYTES = 1024 * 1024

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A mapping read from a file, with the line of every field."""

    data: dict[str, Any]
    file: str
    marks: Marks

    def line_of(self, path: Sequence[str | int]) -> int:
        """Return the line (from 1) of a field; of what surrounds it, if the field itself is not there."""
        marks = self.marks
        for step in path:
            if step not in marks.inside:
                break
            marks = marks.inside[step]
        return marks.line


def load_yaml(text: bytes | str, file: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds, as plain dicts, lists and scalars.

    Args:
        text: the whole file; bytes must be UTF-8, a byte order mark is skipped.
        file: its name, for messages.

    Raises:
        SpecError: with line and column, for anything but one mapping of JSON values within the bounds above.
    """
    return load_document(text, file).data


def load_document(text: bytes | str, file: str) -> Document:
    """Return what `load_yaml` returns, with lines. Raises: SpecError."""
    value, marks = build(_decode(text, file), file)
    if value is None:
        raise SpecError(Problem(file, "the file is empty", "write one object"))
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a single value"
        raise SpecError(
            Problem(f"{file}:{marks.line}", f"the file holds {kind}, not a mapping", "write one object")
        )
    return Document(value, file, marks)


def load_value(text: str, file: str) -> Any:
    """Return a single value written in YAML, such as the right side of `--set`. Raises: SpecError."""
    return build(_decode(text, file), file)[0]


def _decode(text: bytes | str, file: str) -> str:
    if len(text) > MAX_BYTES:
        message = f"the file has {len(text):,} bytes, more than the limit of {MAX_BYTES:,}"
        raise SpecError(Problem(file, message, "keep data out of the manifest"))
    if isinstance(text, bytes):
        text = _text_of(text, file)
    text = text.removeprefix("\ufeff")
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        message = f"the character U+{ord(found.group()):04X} is not allowed"
        raise SpecError(Problem(f"{file}:{line}", message, "remove it; is this a text file?"))
    return text


def _text_of(raw: bytes, file: str) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SpecError(Problem(file, "this is UTF-16 text", "save the file as UTF-8"))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{raw[error.start]:02x} is not valid UTF-8"
        raise SpecError(Problem(f"{file}:{line}", message, "save the file as UTF-8")) from None

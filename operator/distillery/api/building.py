"""YAML events → values and their lines, within bounds. Pure.

The values are made from the parser's events and not by the library's constructor, which would read
`2026-11-03` as a date, would follow aliases without end, and forgets lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from distillery.api.scalars import STANDARD_TAGS, UnreadableError, resolve, short_tag
from distillery.api.syntax import syntax_problem
from distillery.api.v1alpha1.common import MAX_FREE_FORM_DEPTH
from distillery.errors import Problem, SpecError

MAX_DEPTH = MAX_FREE_FORM_DEPTH + 16
"""A free-form field and what surrounds it: whoever writes one that is a little too deep is told which."""
MAX_TAG = 256
"""Characters of a tag; no tag that is allowed comes near, and the library takes quadratic time to decode one."""
MAX_VALUES = 50_000
"""Values after aliases are followed: no manifest comes near, a chain of aliases gets there at once."""
MAX_TEXT = 4 * 1024 * 1024
"""Characters of all texts after aliases are followed: what is written out as JSON has each of them."""

# Escapes in double quotes can write what the text itself must not hold.
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")


@dataclass(slots=True)
class Marks:
    """Where a value stands, where the values inside it stand, and how many, how long and how deep they are."""

    line: int
    inside: dict[str | int, Marks] = field(default_factory=dict)
    size: int = 1
    text: int = 0
    height: int = 0

    def add(self, inner: Marks) -> None:
        """Count a value that lies directly inside."""
        self.size += inner.size
        self.text += inner.text
        self.height = max(self.height, inner.height + 1)


def build(text: str, file: str) -> tuple[Any, Marks]:
    """Return the value of the only document in a YAML text; None for an empty one.

    Raises: SpecError with file, line and column.
    """
    return _Builder(text, file).read()


class _Builder:
    """Builds values from parser events, one method per kind of value."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._events: Iterator[Any] = iter(())
        self._anchors: dict[str, tuple[Any, Marks]] = {}
        self._count = 0
        self._text_count = 0

    def read(self) -> tuple[Any, Marks]:
        """Return the value of the only document."""
        # The library costs a tenth of a second, which commands that read no YAML need not pay.
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError
        from ruamel.yaml.events import DocumentStartEvent, StreamEndEvent

        # No tag resolution or merging happens at this level, so the version of the library's schema is idle.
        parser = YAML(typ="safe", pure=True)
        parser.Scanner = _scanner()
        self._events = parser.parse(self._text)
        try:
            next(self._events)
            if isinstance(next(self._events), StreamEndEvent):
                return None, Marks(1)
            found = self._value(next(self._events), 0)
            next(self._events)
            following = next(self._events)
        except MarkedYAMLError as error:
            raise syntax_problem(error, self._file) from None
        except (YAMLError, ValueError, OverflowError) as error:
            message = f"this is not YAML: {' '.join(str(error).split())[:200]}"
            raise SpecError(Problem(self._file, message, "check the escapes and directives")) from None
        if isinstance(following, DocumentStartEvent):
            line = following.start_mark.line + 1
            raise self._problem(line, "a second document begins here (`---`)", "write one object per file")
        return found

    def _value(self, event: Any, depth: int) -> tuple[Any, Marks]:
        kind = type(event).__name__
        line = event.start_mark.line + 1
        if kind == "AliasEvent":
            return self._alias(event.anchor, depth, line)
        self._check_depth(depth, line)
        marks = Marks(line, text=len(event.value) if kind == "ScalarEvent" else 0)
        self._spend(marks, line)
        if kind == "ScalarEvent":
            value: Any = self._scalar(event, line)
        elif kind == "SequenceStartEvent":
            self._check_tag(_tag(event), "seq", line)
            value = self._sequence(marks, depth)
        else:
            self._check_tag(_tag(event), "map", line)
            value = self._mapping(marks, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, marks)
        return value, marks

    def _alias(self, anchor: str, depth: int, line: int) -> tuple[Any, Marks]:
        if anchor not in self._anchors:
            message = f"*{anchor} is used, but no finished value before it is called &{anchor}"
            raise self._problem(line, message, "define it first, or put the value in quotes")
        value, marks = self._anchors[anchor]
        self._check_depth(depth + marks.height, line)
        self._spend(marks, line)
        return _copied(value), marks

    def _sequence(self, marks: Marks, depth: int) -> list[Any]:
        items: list[Any] = []
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            value, inner = self._value(event, depth + 1)
            marks.inside[len(items)] = inner
            marks.add(inner)
            items.append(value)
        return items

    def _mapping(self, marks: Marks, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            line = event.start_mark.line + 1
            key = self._key(event, line)
            if key in entries:
                first = marks.inside[key].line
                message = f"the key {key!r} is written twice, first in line {first}"
                raise self._problem(line, message, "keep one of them")
            value, inner = self._value(next(self._events), depth + 1)
            marks.inside[key] = Marks(line, inner.inside)
            marks.add(inner)
            marks.text += len(key)
            entries[key] = value
        return entries

    def _key(self, event: Any, line: int) -> str:
        key = self._value(event, 0)[0] if type(event).__name__ in ("ScalarEvent", "AliasEvent") else None
        if key == "<<" and getattr(event, "style", None) is None:
            message = "merge keys (`<<`) are not part of YAML 1.2"
            raise self._problem(line, message, "write the fields out, or use an alias for a whole value")
        if isinstance(key, str):
            return key
        message = (
            f"the key {_shortened(event.value)} is not text"
            if hasattr(event, "value")
            else "a key is not text"
        )
        raise self._problem(line, message, "put it in quotes")

    def _scalar(self, event: Any, line: int) -> object:
        text = event.value
        if found := _NO_TEXT.search(text):
            code = f"U+{ord(found.group()):04X}"
            raise self._problem(line, f"the character {code} is not allowed in a text", "remove its escape")
        try:
            return resolve(text, tag=_tag(event), plain=event.style is None)
        except UnreadableError as error:
            raise self._problem(line, error.message, error.repair) from None

    def _check_tag(self, tag: str | None, kind: str, line: int) -> None:
        if tag not in (None, "!", STANDARD_TAGS + kind):
            raise self._problem(line, f"the tag {short_tag(tag)} is not allowed here", "remove it")

    def _check_depth(self, depth: int, line: int) -> None:
        if depth > MAX_DEPTH:
            raise self._problem(line, f"values are nested more than {MAX_DEPTH} deep", "flatten them")

    def _spend(self, marks: Marks, line: int) -> None:
        """Count what is new, or what an alias repeats."""
        self._count += marks.size
        self._text_count += marks.text
        for count, most, what in (
            (self._count, MAX_VALUES, "values"),
            (self._text_count, MAX_TEXT, "characters"),
        ):
            if count > most:
                message = f"the file holds more than {most:,} {what} once its aliases are followed"
                raise self._problem(line, message, "use fewer aliases")

    def _problem(self, line: int, message: str, repair: str) -> SpecError:
        return SpecError(Problem(f"{self._file}:{line}", message, repair))


def _scanner() -> type:
    """Return the library's scanner, with a bound on tags."""
    from ruamel.yaml.scanner import Scanner, ScannerError

    class BoundedScanner(Scanner):
        """Refuses a long tag before it is decoded."""

        def scan_tag(self) -> Any:
            token = super().scan_tag()
            if len(token.value[1]) > MAX_TAG:
                mark = token.start_mark
                raise ScannerError("while scanning a tag", mark, "found a long tag", mark)
            return token

    return BoundedScanner


def _tag(event: Any) -> str | None:
    return None if event.tag is None else str(event.tag)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value

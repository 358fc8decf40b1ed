"""Columns of a raw row: nested lookup by dots, values as text, comparison of values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from distillery.artifacts.manifest import canonical_json
from distillery.stages.dataset.problems import RowError

Record = Mapping[str, Any]


class _Absent:
    """Type of the marker for a column that a row lacks, as opposed to one that is null."""


ABSENT: Final = _Absent()


def lookup(record: Record, column: str) -> Any:
    """Return the value of a column, or ABSENT.

    A key that is literally called `a.b` wins over the key `b` inside the object `a`.
    """
    if column in record:
        return record[column]
    head, dot, rest = column.partition(".")
    while dot:
        inner = record.get(head)
        if isinstance(inner, Mapping):
            found = lookup(inner, rest)
            if found is not ABSENT:
                return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return ABSENT


def present(record: Record, column: str) -> Any:
    """Return the value of a column, or None if it is absent, null or blank."""
    value = lookup(record, column)
    return None if value is ABSENT or (isinstance(value, str) and not value.strip()) else value


def names(record: Record, depth: int = 3) -> Iterator[str]:
    """Yield the columns that could be meant: keys, and dotted ones inside objects, a few levels deep."""
    for key, value in record.items():
        yield key
        if isinstance(value, Mapping) and depth > 1:
            yield from (f"{key}.{inner}" for inner in names(value, depth - 1))


def text_of(value: Any) -> str:
    """Return a value as text: strings as they are, null as nothing, everything else as JSON.

    Raises: RowError for a number beyond all floats, such as 1e999, and for values nested too deeply.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return canonical_json(value).decode()
    except ValueError:
        raise RowError("a wrong number", "holds a number that is too large", "write it as text") from None
    except RecursionError:
        raise RowError("a deep value", "holds a value that is nested too deeply", "flatten it") from None


def same(left: Any, right: Any) -> bool:
    """Return whether two scalars are equal; unlike Python, true is not 1. Numbers also equal their own text.

    The last rule is for data that passed through CSV: `where: {zip: 12345}` means the string "12345" too.
    """
    return text_of(left) == text_of(right) and (left is None) == (right is None)

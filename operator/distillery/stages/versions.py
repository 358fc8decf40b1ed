"""Which workers read what: the versions of an assignment, and the fields that raise it. Pure.

A worker of an older release ignores a field that it does not know, and would do something else than what was asked.
So every field that is added to an Assignment, a StageRun or the parameters of a stage says from which version on it is
read: `field: Annotated[int | None, Since(2)] = None`. An assignment that uses such a field has that version, and older
workers refuse it before any call; one that uses nothing new keeps the version that every worker reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

READERS: Final[Mapping[int, str]] = {1: "0.1.0"}
"""Version of an assignment → the oldest release whose workers read it. A release that adds fields adds one line."""
NEWEST: Final = max(READERS)


@dataclass(frozen=True, slots=True)
class Since:
    """Says from which version of the assignment on a field is read; with `values`, only these values of it are new."""

    version: int
    values: frozenset[object] = frozenset()


def version_of(value: object) -> int:
    """Return the least version that a worker must read to do what a value asks for."""
    return max(_versions(value), default=1)


def since(field: FieldInfo) -> list[Since]:
    """Return how a field is declared."""
    return [mark for mark in field.metadata if isinstance(mark, Since)]


@cache  # a plan is made at every look at a job
def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo, list[Since]]]:
    return [(name, field, since(field)) for name, field in model.model_fields.items()]


def _versions(value: object) -> Iterator[int]:
    match value:
        case BaseModel():
            for name, field, marks in _fields(type(value)):
                held = getattr(value, name)
                yield from (mark.version for mark in marks if _is_used(mark, field, held))
                yield from _versions(held)
        case None | str() | bytes() | int() | float():
            return
        case Mapping():
            for held in value.values():
                yield from _versions(held)
        case Sequence() | set() | frozenset():
            for held in value:
                yield from _versions(held)


def _is_used(mark: Since, field: FieldInfo, held: object) -> bool:
    """Say whether a field says more than its absence would."""
    if mark.values:
        return any(held == value or (isinstance(held, list) and value in held) for value in mark.values)
    return field.is_required() or held != field.get_default(call_default_factory=True)

"""Slices of the inputs: predicates over columns, and one slice per value of a column. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distillery.api.v1alpha1.dataset import Slice
from distillery.errors import Problem, SpecError
from distillery.stages.dataset.columns import ABSENT, Record, lookup, present, same, text_of
from distillery.stages.dataset.problems import RowError

MAX_VALUES = 1000
"""A column with more values is an id, not a slice; a label task has at most as many labels."""
MAX_VALUE_LENGTH = 200


class Slicer:
    """Names the slices of rows. Keeps the values of byColumn slices, to notice a column that is no slice."""

    def __init__(self, slices: Sequence[Slice]) -> None:
        self._slices = slices
        self._values: dict[str, set[str]] = {item.name: set() for item in slices if item.by_column}

    def names(self, record: Record) -> tuple[str, ...]:
        """Return the sorted names of the slices that the row is in.

        Raises: RowError for a column value that cannot name a slice, SpecError for too many values.
        """
        found: set[str] = set()
        for index, item in enumerate(self._slices):
            if item.by_column is not None:
                found.update(self._by_column(index, item.name, item.by_column, record))
            elif item.where is not None and all(matches(record, c, v) for c, v in item.where.items()):
                found.add(item.name)
        return tuple(sorted(found))

    def _by_column(self, index: int, name: str, column: str, record: Record) -> list[str]:
        value = present(record, column)
        values = value if isinstance(value, list) else [value]
        names = []
        for item in values:
            if item is None or item == "":
                continue
            text = text_of(item)
            if isinstance(item, (dict, list)) or len(text) > MAX_VALUE_LENGTH:
                what = f"{len(text):,} characters" if isinstance(item, str) else "an object or array"
                message = f"column {column!r} holds {what}, which cannot name a slice of {name!r}"
                raise RowError("a wrong slice", message, "slice by a column of short texts or numbers")
            names.append(f"{name}={text}")
        known = self._values[name]
        known.update(names)
        if len(known) > MAX_VALUES:
            message = f"column {column!r} has more than {MAX_VALUES:,} different values"
            repair = "slice by a column whose values have many rows each"
            raise SpecError(Problem(f"spec.dataset.slices[{index}].byColumn", message, repair))
        return names


def matches(record: Record, column: str, wanted: Any) -> bool:
    """Return whether a column has the wanted value or one of the wanted list; one of its own list does."""
    value = lookup(record, column)
    if value is ABSENT:
        value = None
    accepted = wanted if isinstance(wanted, list) else [wanted]
    values = value if isinstance(value, list) else [value]
    return any(same(mine, other) for mine in values for other in accepted)

"""One raw row → one input: its id, group, messages, reference and slices, all checked. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from distillery.api.v1alpha1.task import Output
from distillery.artifacts.manifest import digest
from distillery.errors import Problem, SpecError
from distillery.rules.normalising import normalise
from distillery.stages.dataset.columns import ABSENT, Record, lookup, names, present, text_of
from distillery.stages.dataset.formats import Messages, Reader
from distillery.stages.dataset.problems import RowError, did_you_mean, listing
from distillery.stages.dataset.slices import Slicer
from distillery.stages.dataset.spec import DatasetParams

CONTENT_ID_DIGITS = 32
"""128 bits of a digest: no two contents of a dataset will share it."""
MAX_ID_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Input:
    """A checked row. `place` is (number of the file, line) and no part of its content."""

    row_id: str
    group: str | None
    messages: Messages
    reference: str | None
    slices: tuple[str, ...]
    place: tuple[int, int]

    def content(self) -> str:
        """Return a digest of everything but id and place."""
        return digest([self.group, self.messages, self.reference, list(self.slices)])


class RowReader:
    """Turns records into inputs, and remembers which optional columns it ever saw."""

    def __init__(self, params: DatasetParams) -> None:
        self._params = params
        self._slicer = Slicer(params.slices)
        self._optional = _optional_columns(params)
        self._seen: Counter[str] = Counter()
        self._known: dict[str, None] = {}
        self.rows = 0

    def read(self, record: Record, read: Reader, place: tuple[int, int]) -> Input:
        """Return the input. Raises: RowError."""
        conversation = read(record)
        self._note(record)
        params = self._params
        reference = present(record, params.reference) if params.reference else None
        if reference is None:
            reference = conversation.answer
        if params.id is not None:
            row_id = _id_of(lookup(record, params.id), params.id, record)
        else:
            row_id = digest(conversation.messages)[:CONTENT_ID_DIGITS]
        return Input(
            row_id=row_id,
            group=self._group(record, row_id),
            messages=conversation.messages,
            reference=None if reference is None else reference_of(reference, params.output),
            slices=self._slicer.names(record),
            place=place,
        )

    def check_columns(self) -> None:
        """Raise: SpecError for every column of the spec that no row has: a misspelling, not missing data."""
        problems = []
        for field, column in self._optional:
            if self.rows and not self._seen[column]:
                known = list(self._known)
                message = f"none of the {self.rows:,} rows has a column {column!r}"
                problems.append(
                    Problem(field, message, f"{did_you_mean(column, known)}columns: {listing(known)}")
                )
        if problems:
            raise SpecError(*problems)

    def _note(self, record: Record) -> None:
        self.rows += 1
        if self.rows <= 100:
            self._known.update(dict.fromkeys(names(record)))
        for _, column in self._optional:
            if not self._seen[column] and lookup(record, column) is not ABSENT:
                self._seen[column] += 1

    def _group(self, record: Record, row_id: str) -> str | None:
        """Return the group; a row without one is a group of its own."""
        if self._params.group_by is None:
            return None
        value = present(record, self._params.group_by)
        return row_id if value is None else text_of(value)


def _optional_columns(params: DatasetParams) -> list[tuple[str, str]]:
    """Return (field of the spec, column) for columns that a row may lack, but not every row."""
    columns = [("spec.dataset.reference", params.reference), ("spec.dataset.groupBy", params.group_by)]
    for index, item in enumerate(params.slices):
        field = f"spec.dataset.slices[{index}]"
        columns.append((f"{field}.byColumn", item.by_column))
        columns.extend((f"{field}.where.{column}", column) for column in item.where or {})
    return [(field, column) for field, column in columns if column is not None]


def _id_of(value: Any, column: str, record: Record) -> str:
    if value is ABSENT:
        known = list(names(record))
        repair = f"{did_you_mean(column, known)}the row has: {listing(known)}"
        raise RowError(f"no id {column!r}", f"no column {column!r}, which spec.dataset.id names", repair)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    repair = "an id is text or a whole number; without spec.dataset.id the content names the row"
    if not isinstance(value, str):
        shown = "null" if value is None else text_of(value)[:80]
        raise RowError("a wrong id", f"the id {column!r} is {shown}", repair)
    if not value.strip():
        raise RowError("a wrong id", f"the id {column!r} is empty", repair)
    if len(value) > MAX_ID_LENGTH:
        message = f"the id {column!r} has {len(value):,} characters"
        raise RowError("a wrong id", message, f"at most {MAX_ID_LENGTH}")
    return value


def reference_of(value: Any, output: Output) -> str:
    """Return the normalised known answer.

    Raises: RowError for one that is no answer of the task: an unknown label, no JSON, JSON against the
    schema.
    """
    text = text_of(value)
    answer = normalise(text, output)
    if answer is not None:
        return answer
    shown = repr(text if len(text) <= 80 else text[:77] + "…")
    if output.format == "label":
        labels = output.labels or []
        repair = f"{did_you_mean(text, labels)}labels: {listing(labels, 20)}"
        raise RowError("an unknown label", f"the reference {shown} is no label of the task", repair)
    what = "JSON that fits the schema" if output.schema_ is not None else "valid JSON"
    repair = "write the answer that the teacher should give, as JSON"
    raise RowError("a wrong reference", f"the reference {shown} is not {what}", repair)

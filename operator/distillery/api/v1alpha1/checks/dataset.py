"""Contradictions within the dataset section: sources, template, columns, slices, splits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from distillery.api.v1alpha1.dataset import Slice
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

INPUT = "spec.dataset.input"
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")
_OTHER_FORMATS = frozenset({".csv", ".tsv", ".parquet", ".arrow", ".xlsx", ".gz", ".zst", ".bz2", ".zip"})


def columns_of(template: str) -> list[str]:
    """Return the columns that a template inserts, in order."""
    return [match[1].strip() for match in _PIECE.finditer(template) if match[1] is not None]


def input_is_missing(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Plain rows have no message of their own, and nothing says how to make one."""
    if spec.dataset.input is None and any(source.format == "plain" for source in spec.dataset.sources):
        yield Problem(INPUT, "is required by sources of format plain", 'name the columns to show: "{text}"')


def input_is_malformed(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The template has a lone brace, an empty column or no column at all."""
    template = spec.dataset.input
    if template is None:
        return
    for match in _PIECE.finditer(template):
        if match[2] is not None:
            message = f"a lone {match[2]!r} at character {match.start() + 1}"
            yield Problem(INPUT, message, "write {column}, and {{ or }} for a brace itself")
            return
    columns = columns_of(template)
    if not columns or "" in columns:
        message = (
            "an empty {} names no column" if columns else "names no column, so all inputs would be equal"
        )
        yield Problem(INPUT, message, 'write the columns to insert: "{text}"')


def input_shows_the_reference(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The known answer is part of the question."""
    reference = spec.dataset.reference
    if spec.dataset.input is not None and reference in columns_of(spec.dataset.input):
        message = f"shows the column {reference!r}, which dataset.reference calls the known answer"
        yield Problem(INPUT, message, "take the answer out of the question")


def columns_contradict(spec: DistillationJobSpec) -> Iterator[Problem]:
    """One column is given two roles that exclude each other."""
    data = spec.dataset
    if data.id is not None and data.id == data.reference:
        message = f"{data.id!r} is both the row's name and its known answer"
        yield Problem("spec.dataset.reference", message, "name the column with the answer")
    if data.group_by is not None and data.group_by == data.reference:
        message = f"{data.group_by!r} is the known answer: each answer would be in one split only"
        yield Problem("spec.dataset.groupBy", message, "name a column such as a conversation's id")
    for index, part in enumerate(data.slices):
        if data.id is not None and part.by_column == data.id:
            message = f"{data.id!r} names rows, so every row would be a slice"
            yield Problem(f"spec.dataset.slices[{index}].byColumn", message, "name a column with few values")


def sources_name_no_jsonl(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A source is a folder, a bucket, or a file of another kind."""
    for index, source in enumerate(spec.dataset.sources):
        path = f"spec.dataset.sources[{index}].uri"
        rest = source.uri.partition("://")[2]
        if rest.endswith("/") or (source.uri.startswith("s3://") and "/" not in rest):
            repair = f"name files: {source.uri.rstrip('/')}/*.jsonl"
            yield Problem(path, f"{source.uri!r} is a folder", repair)
        elif (suffix := PurePosixPath(rest).suffix.lower()) in _OTHER_FORMATS:
            yield Problem(path, f"files of type {suffix} are not read", "convert them to JSONL, uncompressed")


def sources_repeat(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The same files are read twice."""
    seen: dict[tuple[str, str | None], int] = {}
    for index, source in enumerate(spec.dataset.sources):
        first = seen.setdefault((source.uri, source.endpoint), index)
        if first != index:
            message = f"{source.uri!r} is already sources[{first}]"
            yield Problem(f"spec.dataset.sources[{index}].uri", message, "remove one of them")


def slices_are_not_one_of(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A slice has no condition, or two."""
    for index, part in enumerate(spec.dataset.slices):
        if (part.where is None) == (part.by_column is None):
            found = "neither" if part.where is None else "both"
            message = f"the slice {part.name!r} has {found} of where and byColumn"
            yield Problem(f"spec.dataset.slices[{index}]", message, "write exactly one of them")


def slices_share_a_name(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Two slices would be reported under one name."""
    seen: dict[str, int] = {}
    columns = [part.name for part in spec.dataset.slices if part.by_column is not None]
    for index, part in enumerate(spec.dataset.slices):
        path = f"spec.dataset.slices[{index}].name"
        first = seen.setdefault(part.name, index)
        if first != index:
            yield Problem(path, f"{part.name!r} is already the name of slices[{first}]", "rename one of them")
        prefix = part.name.partition("=")[0]
        if "=" in part.name and prefix in columns:
            message = f"{part.name!r} is how the slice {prefix!r} calls one of its values"
            yield Problem(path, message, "rename it")


def slices_have_no_condition(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A `where` is empty or compares with something that no column can equal."""
    for index, part in enumerate(spec.dataset.slices):
        path = f"spec.dataset.slices[{index}].where"
        if part.where is not None and not part.where:
            yield Problem(path, "is empty, so every row would be in the slice", "write {column: value}")
        for column, value in (part.where or {}).items():
            values = value if isinstance(value, list) else [value]
            if not values or any(isinstance(item, dict | list) for item in values):
                message = (
                    f"the column {column!r} is compared with {'nothing' if not values else 'no plain value'}"
                )
                yield Problem(path, message, "write a value or a list of values")


def oversampled_slices_are_unknown(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Oversampling names a slice that is not there or is not by column, or names one twice."""
    names = spec.dataset.oversample.slices if spec.dataset.oversample else []
    known: dict[str, Slice] = {part.name: part for part in spec.dataset.slices}
    by_column = ", ".join(name for name, part in known.items() if part.by_column is not None) or "none"
    for index, name in enumerate(names):
        path = f"spec.dataset.oversample.slices[{index}]"
        if name not in known:
            yield Problem(path, f"there is no slice {name!r}", f"slices with byColumn: {by_column}")
        elif known[name].by_column is None:
            yield Problem(path, f"the slice {name!r} is not by column", f"slices with byColumn: {by_column}")
        elif name in names[:index]:
            yield Problem(path, f"{name!r} is listed twice", "keep one of them")


def splits_leave_no_training_rows(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Validation and test take everything."""
    split = spec.dataset.split
    if split.validation + split.test >= 1:
        message = f"validation {split.validation:g} and test {split.test:g} leave nothing to train on"
        yield Problem("spec.dataset.split", message, "their sum must be below 1")

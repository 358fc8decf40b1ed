"""Contradictions within the task's own contract."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from distillery.api.schemas import schema_problem
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

LABELS = "spec.task.output.labels"
SCHEMA = "spec.task.output.schema"


def fold(label: str) -> str:
    """Return what labels that differ only in case and spaces have in common."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold()).split())


def labels_are_missing(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A label task does not say which labels there are."""
    if spec.task.output.format == "label" and spec.task.output.labels is None:
        yield Problem(LABELS, "is required by format label", "list the answers: [billing, login]")


def labels_have_no_use(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Labels are listed, but answers are no labels."""
    output = spec.task.output
    if output.format != "label" and output.labels is not None:
        yield Problem(LABELS, f"labels are listed, but the format is {output.format}", "write format: label")


def labels_are_untidy(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A label has blanks around it or spans lines, which no answer would repeat."""
    for index, label in enumerate(spec.task.output.labels or ()):
        if label != " ".join(label.splitlines()).strip():
            tidy = " ".join(label.split())
            message = f"{label!r} has blanks around it or spans lines"
            yield Problem(f"{LABELS}[{index}]", message, f"write {tidy}" if tidy else "write a word")


def labels_look_alike(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Two labels differ in nothing but case and spaces, which answers do not keep apart."""
    labels = spec.task.output.labels or []
    seen: dict[str, int] = {}
    for index, label in enumerate(labels):
        first = labels[seen.setdefault(fold(label), index)]
        if seen[fold(label)] != index:
            how = "is listed twice" if first == label else f"differs from {first!r} only in case or spaces"
            yield Problem(f"{LABELS}[{index}]", f"{label!r} {how}", "keep one of them")


def labels_begin_each_other(spec: DistillationJobSpec) -> Iterator[Problem]:
    """With soft labels: a label is the beginning of another.

    Teachers do not report the probability that an answer ends, so the mass of the shorter label could not be
    told from that of the longer one, and no such row would have a distribution.
    """
    if spec.student.loss.soft <= 0:
        return
    folded = sorted((fold(label), label, index) for index, label in enumerate(spec.task.output.labels or ()))
    for (short, label, index), (long, other, _) in pairwise(folded):
        if short != long and long.startswith(short):
            message = f"{label!r} is the beginning of {other!r}, so soft labels cannot tell them apart"
            repair = "rename one, or train on answers only: loss: {hard: 1, soft: 0}"
            yield Problem(f"{LABELS}[{index}]", message, repair)


def schema_has_no_use(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A JSON schema is given, but answers are no JSON."""
    output = spec.task.output
    if output.format != "json" and output.schema_ is not None:
        yield Problem(SCHEMA, f"a schema is given, but the format is {output.format}", "write format: json")


def schema_is_invalid(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The JSON schema is none, or refers to something outside it."""
    schema = spec.task.output.schema_
    if schema is not None and (problem := schema_problem(schema)):
        yield Problem(SCHEMA, f"is no valid JSON schema: {problem}", "correct it; definitions go into $defs")

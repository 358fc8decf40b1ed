"""Bounds on the parts of an object that somebody else defines. The API server admits 1.5 MB, nested 10,000 deep. Pure.

They are judged before anything else looks at an object: what is as large or as deep as that costs whoever follows it
seconds, or the process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from distillery.api.paths import format_path
from distillery.api.v1alpha1.common import MAX_FREE_FORM_BYTES, MAX_FREE_FORM_DEPTH, MAX_FREE_FORM_TOTAL
from distillery.errors import Problem, SpecError

JOB_PARTS = (
    "spec.task.output.schema",
    "spec.student.base.architecture",
    "spec.dataset.slices.*.where",
)
PROFILE_PARTS = ("spec.pods.*.head", "spec.pods.*.worker")
"""The free-form fields of both kinds; `*` stands for every item or key."""
UNCOUNTED_DEPTH = 100
"""Deeper than this nobody counts, and the operator may not have the rest."""
UNCOUNTED_BYTES = 4 * MAX_FREE_FORM_BYTES
"""More than this nobody counts: to write a megabyte out holds the event loop, and so the Lease, up for a second."""


def check_bounds(data: Mapping[str, Any], patterns: tuple[str, ...]) -> None:
    """Judge the free-form parts of an object. Raises: SpecError."""
    parts = {
        format_path(path): value
        for pattern in patterns
        for path, value in _found(data, pattern.split("."), ())
    }
    problems = [*_too_deep(parts), *_too_large(parts)]
    if problems:
        raise SpecError(*problems)


def _found(
    value: Any, steps: list[str], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if not steps:
        yield path, value
        return
    step, *rest = steps
    if step == "*" and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _found(inner, rest, (*path, index))
    elif isinstance(value, Mapping):
        for key in value if step == "*" else [step] if step in value else []:
            yield from _found(value[key], rest, (*path, key))


def _too_large(parts: Mapping[str, object]) -> Iterator[Problem]:
    """Judge the sizes of the free-form parts of an object, by their paths."""
    sizes = {path: _size(part) for path, part in parts.items()}
    for path, size in sizes.items():
        if size > MAX_FREE_FORM_BYTES:
            said = f"{size:,}" if size <= UNCOUNTED_BYTES else f"more than {UNCOUNTED_BYTES:,}"
            yield Problem(
                path, f"has {said} bytes as JSON", f"at most {MAX_FREE_FORM_BYTES:,} bytes are allowed"
            )
    if (total := sum(sizes.values())) > MAX_FREE_FORM_TOTAL and max(sizes.values()) <= MAX_FREE_FORM_BYTES:
        path = max(sizes, key=lambda path: sizes[path])
        message = f"has {sizes[path]:,} bytes as JSON, and together with others of its kind {total:,}"
        yield Problem(path, message, f"at most {MAX_FREE_FORM_TOTAL:,} bytes are allowed together")


def _too_deep(parts: Mapping[str, object]) -> Iterator[Problem]:
    """Judge how deep the free-form parts of an object are, by their paths."""
    for path, part in parts.items():
        depth, _ = measured(part)
        if depth > MAX_FREE_FORM_DEPTH:
            said = f"{depth} deep" if depth < UNCOUNTED_DEPTH else f"{UNCOUNTED_DEPTH} or more deep"
            yield Problem(path, f"is nested {said}", f"flatten it: at most {MAX_FREE_FORM_DEPTH} are allowed")


def measured(value: Any) -> tuple[int, int]:
    """Return how many mappings and lists lie inside one another, and how many bytes of JSON there are at least.

    Never recurses, and stops where either is beyond what is counted.
    """
    depth, size, level = 0, 0, [value]
    while depth < UNCOUNTED_DEPTH and size <= UNCOUNTED_BYTES:
        size += sum(len(part) for part in level if isinstance(part, str))
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            break
        depth += 1
        size += sum(2 * len(part) for part in level)
        if size <= UNCOUNTED_BYTES:
            level = [
                inner
                for part in level
                for inner in (chain(part, part.values()) if isinstance(part, dict) else part)
            ]
    return depth, size


def _size(value: object) -> int:
    depth, size = measured(value)
    # What is too deep to be written is judged by its depth alone.
    if size > UNCOUNTED_BYTES or depth >= UNCOUNTED_DEPTH:
        return size if size > UNCOUNTED_BYTES else 0
    return len(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))

"""Bounds on the parts of an object that somebody else defines. The API server admits 1.5 MB, nested 10,000 deep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from distillery.api.v1alpha1.common import MAX_FREE_FORM_BYTES, MAX_FREE_FORM_DEPTH, MAX_FREE_FORM_TOTAL
from distillery.errors import Problem

UNCOUNTED_DEPTH = 100
"""Deeper than this nobody counts, and the operator may not have the rest."""


def too_large(parts: Mapping[str, object]) -> Iterator[Problem]:
    """Judge the sizes of the free-form parts of an object, by their paths."""
    sizes = {path: _size(part) for path, part in parts.items()}
    for path, size in sizes.items():
        if size > MAX_FREE_FORM_BYTES:
            yield Problem(
                path, f"has {size:,} bytes as JSON", f"at most {MAX_FREE_FORM_BYTES:,} bytes are allowed"
            )
    if (total := sum(sizes.values())) > MAX_FREE_FORM_TOTAL >= max(sizes.values()):
        path = max(sizes, key=lambda path: sizes[path])
        message = f"has {sizes[path]:,} bytes as JSON, and together with others of its kind {total:,}"
        yield Problem(path, message, f"at most {MAX_FREE_FORM_TOTAL:,} bytes are allowed together")


def too_deep(parts: Mapping[str, object]) -> Iterator[Problem]:
    """Judge how deep the free-form parts of an object are, by their paths."""
    for path, part in parts.items():
        depth = depth_of(part)
        if depth > MAX_FREE_FORM_DEPTH:
            said = f"{depth} deep" if depth < UNCOUNTED_DEPTH else f"{UNCOUNTED_DEPTH} or more deep"
            yield Problem(path, f"is nested {said}", f"flatten it: at most {MAX_FREE_FORM_DEPTH} are allowed")


def depth_of(value: Any) -> int:
    """Return how many mappings and lists lie inside one another, counted up to UNCOUNTED_DEPTH. Never recurses."""
    depth, level = 0, [value]
    while depth < UNCOUNTED_DEPTH:
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            break
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth


def _size(value: object) -> int:
    # What is too deep to be written is judged by its depth alone.
    if depth_of(value) >= UNCOUNTED_DEPTH:
        return 0
    return len(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))

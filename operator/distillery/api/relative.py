"""Addresses of files beside the manifest (`file://tickets.jsonl`): only a local run can follow them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distillery.errors import Problem

FILE_SCHEME = "file://"


def is_relative(uri: object) -> bool:
    """Say whether an address starts at the manifest's folder."""
    return isinstance(uri, str) and uri.startswith(FILE_SCHEME) and not uri.startswith(f"{FILE_SCHEME}/")


def unreachable_files(spec: dict[str, Any]) -> list[Problem]:
    """Return the addresses of a spec that no pod can read."""
    message = "is relative to the manifest's folder, which no pod can read"
    return [
        Problem(path, message, "put the data where the cluster reads it: s3://…")
        for path in _relative(spec, "spec")
    ]


def _relative(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "uri" and is_relative(item):
                yield f"{path}.{key}"
            else:
                yield from _relative(item, f"{path}.{key}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _relative(item, f"{path}[{index}]")

"""Paths of fields, `spec.dataset.sources[0].format`: as text, as keys and indexes, in nested data. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

Path = tuple[str | int, ...]

_STEP = re.compile(r"""\.?(?P<key>[^.\[\]"]+)|\.?(?P<quoted>"(?:[^"\\]|\\.)*")|\[(?P<index>\d{1,6})\]""")
_PLAIN = re.compile(r"""[^.\[\]"]+""")


def parse_path(text: str) -> Path:
    """Return the keys and indexes of a dotted path; a key with dots or brackets is written as a JSON string.

    Raises: ValueError for text that is no path.
    """
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        joined = position == 0 or text[position] in ".["
        if match is None or not joined or (position == 0 and text[0] == "."):
            raise ValueError(f"{text!r} is no field path")
        index = match["index"]
        steps.append(int(index) if index is not None else match["key"] or json.loads(match["quoted"]))
        position = match.end()
    if not steps or isinstance(steps[0], int):
        raise ValueError(f"{text!r} is no field path")
    return tuple(steps)


def format_path(path: Sequence[str | int]) -> str:
    """Return the dotted form of a path."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (
                step if _PLAIN.fullmatch(step) else json.dumps(step, ensure_ascii=False)
            )
    return text


def overlap(left: Path, right: Path) -> bool:
    """Return whether one path is the other or lies inside it."""
    shorter = min(len(left), len(right))
    return left[:shorter] == right[:shorter]


def look_up(data: Any, path: Path) -> Any:
    """Return the value at a path in nested mappings and lists. Raises: LookupError where there is none."""
    for step in path:
        match data, step:
            case dict(), str():
                data = data[step]
            case list(), int():
                data = data[step]
            case _:
                raise LookupError(format_path(path))
    return data


def is_there(data: Any, path: Path) -> bool:
    """Return whether there is a value at a path."""
    try:
        look_up(data, path)
    except LookupError:
        return False
    return True


def remove(data: Any, path: Path) -> None:
    """Delete the value at a path, if it is there."""
    try:
        parent = look_up(data, path[:-1])
        del parent[path[-1]]
    except (LookupError, TypeError):
        return


def place(data: Any, path: Path, value: object) -> None:
    """Set the value at a path, making mappings on the way; a list takes an existing index or the next one.

    Raises: LookupError naming the part of the path that cannot be entered.
    """
    for depth, (step, following) in enumerate(zip(path, (*path[1:], None), strict=True)):
        here = format_path(path[:depth])
        if isinstance(step, int):
            if not isinstance(data, list):
                raise LookupError(f"{here} is no list")
            if step > len(data):
                raise LookupError(f"{here} has no [{step}]; the next item would be [{len(data)}]")
            if step == len(data):
                data.append(None)
        elif not isinstance(data, dict):
            raise LookupError(f"{here} has no fields")
        if following is None:
            data[step] = value
            return
        inside = data.get(step) if isinstance(data, dict) else look_up(data, (step,))
        if inside is None:
            inside = [] if isinstance(following, int) else {}
            data[step] = inside
        data = inside

"""JSON of the API server → values, whatever somebody has stored there. Pure but for the thread that heavy texts take.

The API server admits values that are nested up to 10,000 deep and 1.5 MB large, in free-form fields and, mirrored, in
`metadata.managedFields`. Python's own decoder gives up at a depth that differs by release, and what decodes must still
be compared, copied and written by code that recurses. So what lies deeper than anything valid is cut out of the text,
and no object is undecodable: its name, its version and the rest of its list are always there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from pydantic_core import from_json

KEPT_DEPTH = 128
"""Levels that are kept where a text is too deep: far more than a valid object has inside a list inside an event, so
that validation still sees that it is too deep. Texts of up to 200 levels are not touched."""
HEAVY_BYTES = 128 * 1024
"""Texts beyond this are decoded off the event loop, one at a time: a megabyte can take 35 as Python's objects."""

_TOO_DEEP = "recursion limit exceeded"
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]++|[\]}]++', re.DOTALL)
_QUOTE = ord('"')
_OPENING = frozenset(b"[{")
_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

T = TypeVar("T")


def decode(text: bytes) -> Any:
    """Return the value of a JSON text; null stands where it was cut because it is too deep.

    Raises: ValueError if it is no JSON, or only the beginning of one.
    """
    try:
        return from_json(text)
    except ValueError as error:
        if _TOO_DEEP not in str(error):
            raise
    return from_json(prune(text, KEPT_DEPTH))


def prune(text: bytes, depth: int) -> bytes:
    """Return a JSON text with null for every list and mapping that lies inside `depth` others. Takes linear time."""
    kept: list[bytes] = []
    level, begun, cut = 0, 0, -1
    for match in _TOKENS.finditer(text):
        start, end = match.span()
        first = text[start]
        if first == _QUOTE:
            continue
        if first in _OPENING:
            if cut < 0 and level + end - start > depth:
                cut = start + depth - level
                kept += (text[begun:cut], b"null")
            level += end - start
        else:
            if cut >= 0 and level - (end - start) <= depth:
                begun, cut = start + level - depth, -1
            level -= end - start
    if cut < 0:
        kept.append(text[begun:])
    return b"".join(kept)


async def decoded(text: bytes, view: Callable[[Any], T]) -> T:
    """Return what `view` makes of a JSON text. Of a heavy one nothing else stays, and the event loop goes on meanwhile.

    Raises: ValueError if it is no JSON; what `view` raises.
    """
    if len(text) < HEAVY_BYTES:
        return view(decode(text))
    # In turns: the next is decoded once the one before has been handed over, and so at once judged, and let go.
    async with _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        return await asyncio.to_thread(lambda: view(decode(text)))


def relieved(value: Any) -> Any:
    """Return a decoded object without its managed fields, which nothing reads and which mirror whatever it holds."""
    if isinstance(value, dict) and isinstance(metadata := value.get("metadata"), dict):
        metadata.pop("managedFields", None)
    return value

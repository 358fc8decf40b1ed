"""Addresses with wildcards: `*` and `?` within a name, `**` across folders; dot files stay hidden. Pure."""

from __future__ import annotations

import re

WILDCARDS = "*?"


def has_wildcard(uri: str) -> bool:
    """Return whether the address can match several files. Brackets and braces are ordinary characters."""
    return any(mark in uri for mark in WILDCARDS)


def split_uri(uri: str) -> tuple[str, str]:
    """Return (folder, pattern): the folder ends before the first wildcard, or before the file's name."""
    first = next((index for index, mark in enumerate(uri) if mark in WILDCARDS), len(uri))
    cut = uri.rfind("/", 0, first)
    return uri[:cut], uri[cut + 1 :]


def segment_pattern(segment: str) -> re.Pattern[str]:
    """Return the expression for one name of a path."""
    body = "".join({"*": "[^/]*", "?": "[^/]"}.get(mark, re.escape(mark)) for mark in segment)
    hidden = r"(?!\.)" if segment[:1] in ("*", "?") else ""
    return re.compile(hidden + body)


def pattern_of(pattern: str) -> re.Pattern[str]:
    """Return the expression that keys below the folder must match in full."""
    parts = pattern.split("/")
    expressions = [
        r"(?:(?!\.)[^/]+/)*" if part == "**" else segment_pattern(part).pattern + "/" for part in parts[:-1]
    ]
    last = r"(?:(?!\.)[^/]+/)*(?!\.)[^/]+" if parts[-1] == "**" else segment_pattern(parts[-1]).pattern
    return re.compile("".join(expressions) + last)

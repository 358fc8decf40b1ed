"""What a YAML scalar means, and how a value is written as one: the core schema of YAML 1.2. Pure."""

from __future__ import annotations

import json
import math
import re

MAX_DIGITS = 64
"""Digits of a number: more is a pasted identifier, and reading thousands of them takes quadratic time."""

STANDARD_TAGS = "tag:yaml.org,2002:"
_KINDS: dict[str, type] = {
    STANDARD_TAGS + "null": type(None),
    STANDARD_TAGS + "bool": bool,
    STANDARD_TAGS + "int": int,
    STANDARD_TAGS + "float": float,
}
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# Words that other YAML readers, kubectl's among them, take for booleans, dates or base-60 numbers.
_ELSEWHERE_NO_TEXT = re.compile(
    r"(?i:y|n|yes|no|on|off)|[-+]?[0-9][0-9_:.,+\-TtZz ]*|[-+]?0[xob]?[0-9a-fA-F_]+"
)
_SAFE_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./+%()=,;-]*(?: [A-Za-z0-9_./+%()=,;-]+)*")


class UnreadableError(Exception):
    """A scalar that has no JSON value."""

    def __init__(self, message: str, repair: str) -> None:
        super().__init__(message, repair)
        self.message = message
        self.repair = repair


def resolve(text: str, *, tag: str | None, plain: bool) -> str | int | float | bool | None:
    """Return the value of a scalar.

    Args:
        text: the scalar without its quotes.
        tag: its full tag, if one is written.
        plain: whether it is written without quotes.

    Raises:
        UnreadableError: for foreign tags, infinities, NaN and numbers with too many digits.
    """
    if tag in ("!", STANDARD_TAGS + "str") or (tag is None and not plain):
        return text
    value = _core(text)
    if tag is None:
        return value
    if tag not in _KINDS:
        raise UnreadableError(f"the tag {short_tag(tag)} is not allowed here", "remove it")
    if tag == STANDARD_TAGS + "float" and type(value) is int:
        return float(value)
    if type(value) is not _KINDS[tag]:
        raise UnreadableError(f"{text!r} is no value of the tag {short_tag(tag)}", "remove the tag")
    return value


def short_tag(tag: str | None) -> str:
    """Return a tag as people write it."""
    tag = tag or ""
    return "!!" + tag.removeprefix(STANDARD_TAGS) if tag.startswith(STANDARD_TAGS) else tag


def _core(text: str) -> str | int | float | bool | None:
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _NOT_FINITE.fullmatch(text):
        raise UnreadableError(f"{text} is not a finite number", "write a number, or quotes around a text")
    base = 10 if _INT.fullmatch(text) else 8 if _OCTAL.fullmatch(text) else 16 if _HEX.fullmatch(text) else 0
    if not base and not _FLOAT.fullmatch(text):
        return text
    if len(text) > MAX_DIGITS:
        raise UnreadableError(f"a number of {len(text)} characters", "put it in quotes if it is a text")
    if base:
        return int(text if base == 10 else text[2:], base)
    number = float(text)
    if not math.isfinite(number):
        raise UnreadableError(f"{text} is too large for a number", "put it in quotes if it is a text")
    return number


def written(value: object) -> str:
    """Return a scalar as it stands in a file: plain where no reader can mistake it, else in double quotes.

    Raises: TypeError for anything but text, finite numbers, booleans and null.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float) and math.isfinite(value):
        return repr(float(value))
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} cannot be written as YAML")
    return str(value) if _is_plain(value) else _quoted(value)


def _is_plain(text: str) -> bool:
    if not _SAFE_PLAIN.fullmatch(text) or text in _NULL or text in _BOOL:
        return False
    return _ELSEWHERE_NO_TEXT.fullmatch(text) is None


def _quoted(text: str) -> str:
    # JSON leaves these as they are; YAML forbids them or takes them for line ends.
    def escape(match: re.Match[str]) -> str:
        return f"\\u{ord(match.group()):04x}"

    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", escape, json.dumps(text, ensure_ascii=False))

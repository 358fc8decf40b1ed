"""Plain sentences for what pydantic says: the value, what is wrong with it, what is allowed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from distillery.api.fields import allowed_at, field_at, nearest, type_at, walk
from distillery.api.paths import Path, format_path
from distillery.api.showing import shown
from distillery.api.v1alpha1 import common, distillation_profile
from distillery.errors import Problem

_PATTERNS: Mapping[str, tuple[str, str]] = {
    common.DNS_NAME: (
        "is no name",
        "use lower-case letters, digits and '-', beginning and ending with a letter or digit",
    ),
    common.STORE_URI: ("is no address of files", "write s3://bucket/path or file:///path"),
    common.HTTP_URL: ("is no address of a server", "write http://host or https://host"),
    common.HUB_ID: ("is no model id of the hub", "write organisation/model; for a folder use base.uri"),
    common.SECRET_KEY: ("is no key of a Secret", "use letters, digits, '-', '_' and '.'"),
    common.RESOURCE: ("is no name of a resource", "write cpu, memory or one such as nvidia.com/gpu"),
    common.DURATION: ("is no span of time", "write one such as 90s, 15m or 1h30m"),
    distillation_profile.IMAGE: ("is no name of an image", "write registry/name:tag, or …@sha256:digest"),
    distillation_profile.RAY_VERSION: ("is no version of Ray", "write three numbers, for example 2.60.0"),
    distillation_profile.LABEL_KEY: ("is no key of a label", "write one such as kueue.x-k8s.io/queue-name"),
    distillation_profile.LABEL_VALUE: ("is no value of a label", "use letters, digits, '-', '_' and '.'"),
    common.CURRENCY: ("is no currency", "write three capital letters, for example USD"),
}
_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
}

Words = tuple[str, str]
"""What is wrong, and the repair."""


def problem_of(error: ErrorDetails, root: type[BaseModel]) -> Problem:
    """Return the problem that one of pydantic's errors stands for. `root` is the model of the whole file."""
    path = location(error)
    kind = error["type"]
    describe = _DESCRIPTIONS.get(kind, _unforeseen)
    message, repair = describe(error, path, root)
    return Problem(format_path(path), message, repair)


def location(error: ErrorDetails) -> Path:
    """Return where in the file an error lies."""
    return tuple(step for step in error["loc"] if step != "[key]")


def suggestion(path: Path, root: type[BaseModel]) -> Path | None:
    """Return the path that was probably meant by one that does not exist."""
    near = nearest(str(path[-1]), allowed_at(root, path[:-1]))
    if near is not None:
        return (*path[:-1], near)
    elsewhere = [other for other, _ in walk(root) if other[-1] == path[-1]]
    return elsewhere[0] if len(elsewhere) == 1 else None


def _missing(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    field = field_at(root, path)
    text = field.description.rstrip(".") if field else ""
    if text[1:2].islower():
        text = text[:1].lower() + text[1:]
    return "is required", f"add it ({text})" if text else "add it"


def _unknown(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    meant = suggestion(path, root)
    if meant is None:
        return (
            "there is no such field",
            f"allowed here: {', '.join(allowed_at(root, path[:-1])) or 'no field'}",
        )
    if meant[:-1] == path[:-1]:
        return "there is no such field", f"did you mean {meant[-1]!r}?"
    return "there is no such field here", f"did you mean {format_path(meant)}?"


def _not_listed(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    allowed = allowed_at(root, path)
    near = nearest(str(error["input"]), allowed)
    hint = f"did you mean {near!r}? " if near and near != error["input"] else ""
    return f"{shown(error['input'], path)} is not allowed", f"{hint}allowed: {', '.join(allowed)}"


def _wrong_kind(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    wanted, value = type_at(root, path), error["input"]
    if value is None:
        return "is empty", "give it a value or remove it"
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        fields = ", ".join(allowed_at(root, path))
        return (
            f"{shown(value, path)} stands where fields are wanted",
            f"fields: {fields}" if fields else "write {}",
        )
    if get_origin(wanted) is dict:
        return f"{shown(value, path)} stands where fields are wanted", "write a mapping"
    word = _KINDS[error["type"].partition("_")[0]]
    if word == "text" and not isinstance(value, dict | list):
        return f"{shown(value, path)} is not text", "put it in quotes"
    repair = "write [a, b], or one `- item` per line" if word == "a list" else f"write {word}"
    if isinstance(value, str) and "number" in word:
        repair += " without quotes"
    return f"{shown(value, path)} is not {word}", repair


def _bound(words: str, key: str) -> Callable[[ErrorDetails, Path, type[BaseModel]], Words]:
    def describe(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
        return f"{shown(error['input'], path)} is out of range", f"must be {words} {error['ctx'][key]:,}"

    return describe


def _length(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    value, limits = error["input"], error["ctx"]
    if value == "":
        return "is empty", "write at least one character, or remove the field"
    one, many = ("character", "characters") if isinstance(value, str) else ("entry", "entries")
    least, most = limits.get("min_length"), limits.get("max_length")
    wanted = f"at least {least:,}" if least is not None else f"at most {most:,}"
    return f"has {len(value):,} {one if len(value) == 1 else many}", f"write {wanted}"


def _pattern(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    what, repair = _PATTERNS.get(error["ctx"]["pattern"], ("is not allowed", "see the field's description"))
    scheme = str(error["input"]).partition("://")
    if error["ctx"]["pattern"] == common.STORE_URI and scheme[1] and scheme[0] not in ("s3", "file"):
        what = f"has the scheme {scheme[0][:20]!r}, which is not supported"
    return f"{shown(error['input'], path)} {what}", repair


def _money(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    value = error["input"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{shown(value)} is a number; money is text, since numbers lose cents", f'write "{value}"'
    return (
        f"{shown(value, path)} is no amount of money",
        'write digits and a point in quotes, for example "2.50"',
    )


def _quantity(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    return f"{shown(error['input'], path)} is no amount of a resource", "write one such as 4, 500m or 16Gi"


def _unforeseen(error: ErrorDetails, path: Path, root: type[BaseModel]) -> Words:
    return f"{shown(error['input'], path)} is not allowed: {error['msg']}", "see the field's description"


_DESCRIPTIONS: Mapping[str, Callable[[ErrorDetails, Path, type[BaseModel]], Words]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "literal_error": _not_listed,
    "model_type": _wrong_kind,
    "dict_type": _wrong_kind,
    "list_type": _wrong_kind,
    "string_type": _wrong_kind,
    "int_type": _wrong_kind,
    "int_from_float": _wrong_kind,
    "float_type": _wrong_kind,
    "bool_type": _wrong_kind,
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "too_short": _length,
    "too_long": _length,
    "string_too_short": _length,
    "string_too_long": _length,
    "string_pattern_mismatch": _pattern,
    "money": _money,
    "quantity": _quantity,
}

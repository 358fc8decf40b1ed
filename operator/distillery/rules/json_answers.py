"""JSON answers: strict parsing, one canonical form, validation against the task's schema, offline."""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCE = re.compile(r"```[ \t]*(?:json)?\s*(.*?)\s*```", re.DOTALL | re.IGNORECASE)
_LARGEST_EXACT = 2**53


def parse(text: str) -> Any:
    """Return the JSON value that `text` consists of; one code fence around it is tolerated.

    Whole floats become integers: `1.0` and `1` are one number in JSON.

    Raises: ValueError for text that is not exactly one JSON value, for NaN and infinities, for repeated keys
    and for values nested too deeply.
    """
    text = text.strip().lstrip("\ufeff").strip()
    if fenced := _FENCE.fullmatch(text):
        text = fenced.group(1)
    try:
        return json.loads(
            text, parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_object
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def canonical(value: Any) -> str:
    """Return the text that equal JSON values share: sorted keys, no blanks, no needless escapes.

    Raises: ValueError for text that UTF-8 cannot encode (lone surrogates) and values nested too deeply.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    text.encode()
    return text


def matches(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether `value` is valid under `schema`, a schema without `api.schemas.schema_problem`."""
    try:
        return bool(_validator(json.dumps(schema, sort_keys=True)).is_valid(value))
    except RecursionError:
        return False


@lru_cache(maxsize=64)
def _validator(schema_text: str) -> Validator:
    """Build the validator of a schema, of the draft that `$schema` names, else 2020-12.

    The registry is empty on purpose: with jsonschema's default one a remote `$ref` would be fetched.
    """
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    schema = json.loads(schema_text)
    validator: Validator = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
    return validator


def _number(text: str) -> int | float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    if number.is_integer() and abs(number) <= _LARGEST_EXACT:
        return int(number)
    return number


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is repeated")
    return members

"""Whether a JSON schema is one: valid by its own draft, and complete in itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# Their values are data and no schemas.
_DATA_KEYWORDS = frozenset({"const", "enum", "default", "examples"})


def schema_problem(schema: dict[str, Any]) -> str | None:
    """Return what is wrong with a JSON schema in one line, or None.

    Where the library is not installed (in the operator's image) nothing is found: the worker looks again.
    """
    # The library costs a tenth of a second, and only tasks with a schema need it.
    try:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for
    except ImportError:
        return None
    dialect = schema.get("$schema")
    validator = Draft202012Validator
    if dialect is not None:
        validator = validator_for({"$schema": dialect}, default=None) if _is_address(dialect) else None
    if validator is None:
        return f"$schema {str(dialect)[:80]!r} is no known draft"
    try:
        validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(str(step) for step in error.absolute_path)
        message = str(error.message)[:200]
        return f"{where}: {message}" if where else message
    except RecursionError:
        return "it is nested too deep to be checked"
    return next(
        (f"$ref {ref[:80]!r} {why}" for ref in _references(schema) if (why := _lost(ref, schema))), None
    )


def _is_address(dialect: object) -> bool:
    return isinstance(dialect, str) and re.fullmatch(r"https?://[a-z0-9./-]+#?", dialect) is not None


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        for keyword, part in schema.items():
            if keyword not in _DATA_KEYWORDS:
                yield from _references(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _references(part)


def _lost(reference: str, schema: dict[str, Any]) -> str | None:
    """Return why a reference cannot be followed, or None."""
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    try:
        Registry().resolver_with_root(root).lookup(reference)
    except (Unresolvable, ValueError):
        return "points to nothing in the schema" if reference.startswith("#") else "leads out of the schema"
    return None

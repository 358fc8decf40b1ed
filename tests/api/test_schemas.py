from typing import Any

import pytest

from distillery.api.schemas import schema_problem

SCHEMAS: dict[str, tuple[dict[str, Any], str | None]] = {
    "a sound schema": ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, None),
    "an unknown type": ({"type": "text"}, "type: 'text' is not valid under any of the given schemas"),
    "a broken pattern": ({"pattern": "("}, "pattern: '(' is not a 'regex'"),
    "a missing definition": (
        {"items": {"$ref": "#/$defs/a"}},
        "$ref '#/$defs/a' points to nothing in the schema",
    ),
    "a schema on the network": (
        {"$ref": "https://example.com/s"},
        "$ref 'https://example.com/s' leads out of the schema",
    ),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_a_broken_schema_is_explained(case: str) -> None:
    schema, want = SCHEMAS[case]
    assert schema_problem(schema) == want

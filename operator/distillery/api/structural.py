"""Models → structural schemas, the dialect of JSON schema that CustomResourceDefinitions speak. Pure.

The dialect has no references, no null beside a type, draft-4 exclusive bounds, and no keyword that says which keys a
mapping may have. Defaults are told in descriptions and not set by the API server: an object keeps saying what its
author wrote, and the one place where a default is defined is the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from distillery.api.cel.rule import Cel

Schema = dict[str, Any]

_KEPT = (
    "type",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
)
_INT64 = (-(2**63), 2**63 - 1)


class Structure:
    """The structural schema of one model and of everything inside it.

    Args:
        model: the root.
        rules: CEL rules by place: `Model`, `Model.field` or `Model.field[]` for a list's items.
        extra: keywords to set, by the same places, where the models have no word for them.
    """

    def __init__(
        self,
        model: type[BaseModel],
        rules: Mapping[str, Iterable[Cel]],
        extra: Mapping[str, Mapping[str, object]],
    ) -> None:
        self._root = model.model_json_schema(by_alias=True)
        self._name = model.__name__
        self._rules = rules
        self._extra = extra
        self.places: set[str] = set()
        """Every place that was met, so that a rule for none is noticed."""

    def schema(self) -> Schema:
        """Return the schema of the root."""
        return self._object(self._root, self._name)

    def _schema(self, part: Mapping[str, Any], place: str) -> Schema:
        """Translate a field's schema; `place` is `Model.field`."""
        inner, name = self._resolved(part)
        if "properties" in inner or (name and inner.get("type") == "object"):
            found = self._object(inner, name or place)
            found["description"] = _joined(part.get("description"), inner.get("description"))
            return self._at(place, found)
        found = self._value(inner, place)
        description = _joined(part.get("description", inner.get("description")), _default(part))
        if description:
            found = {"description": description, **found}
        return self._at(place, found)

    def _object(self, part: Mapping[str, Any], name: str) -> Schema:
        found: Schema = {"description": _joined(part.get("description")), "type": "object"}
        if required := part.get("required"):
            found["required"] = sorted(required)
        if properties := part.get("properties"):
            found["properties"] = {
                field: self._schema(inner, f"{name}.{field}") for field, inner in properties.items()
            }
        return self._at(name, found)

    def _value(self, part: Mapping[str, Any], place: str) -> Schema:
        if part.get("x-kubernetes-int-or-string"):
            return _amount(part)
        if "const" in part or "enum" in part:
            return {"type": "string", "enum": list(part.get("enum", [part.get("const")]))}
        kept: Schema = {keyword: part[keyword] for keyword in _KEPT if keyword in part}
        match part["type"]:
            case "integer" | "number":
                return {**kept, **_limits(part)}
            case "array":
                items = self._schema(part["items"], f"{place}[]")
                return {**kept, "items": items, "x-kubernetes-list-type": "atomic"}
            case "object":
                return {**kept, **self._mapping(part, place)}
            case _:
                return kept

    def _mapping(self, part: Mapping[str, Any], place: str) -> Schema:
        """Translate a mapping: of values of one kind, or free-form."""
        by_pattern = list(part.get("patternProperties", {}).items())
        values = by_pattern[0][1] if by_pattern else part.get("additionalProperties")
        if not isinstance(values, dict):
            return {"x-kubernetes-preserve-unknown-fields": True}
        found: Schema = {"additionalProperties": self._schema(values, f"{place}[]")}
        if by_pattern:
            found["x-kubernetes-validations"] = [_keys(by_pattern[0][0], part.get("propertyNames", {}))]
        return found

    def _resolved(self, part: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """Follow references and leave out null; return the schema and the name of its model, if it has one."""
        if "$ref" in part:
            name = part["$ref"].rpartition("/")[2]
            return self._root["$defs"][name], name
        for keyword in ("anyOf", "allOf"):
            inner = [choice for choice in part.get(keyword, ()) if choice.get("type") != "null"]
            if len(inner) == 1:
                return self._resolved(inner[0])
        return part, ""

    def _at(self, place: str, found: Schema) -> Schema:
        self.places.add(place)
        rules = [rule.to_schema() for rule in self._rules.get(place, ())]
        if rules:
            found["x-kubernetes-validations"] = [*found.get("x-kubernetes-validations", []), *rules]
        return {**found, **self._extra.get(place, {})}


def _limits(part: Mapping[str, Any]) -> Schema:
    found: Schema = {"format": "int64"} if part["type"] == "integer" else {}
    for limit, keyword in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if keyword in part:
            found |= {limit: part[keyword], keyword: True}
        elif limit in part and part[limit] not in _INT64:
            found[limit] = part[limit]
    return found


def _amount(part: Mapping[str, Any]) -> Schema:
    return {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": part["pattern"],
        "maxLength": part["maxLength"],
        "minimum": 0,
        "x-kubernetes-int-or-string": True,
    }


def _keys(pattern: str, names: Mapping[str, Any]) -> Schema:
    most = names.get("maxLength", 253)
    rule = f"self.all(key, key.size() <= {most} && key.matches({json.dumps(pattern)}))"
    return Cel(
        rule, f"a key does not match {pattern}", f"correct it; keys have at most {most} characters"
    ).to_schema()


def _default(part: Mapping[str, Any]) -> str:
    value = part.get("default")
    if value is None or value == [] or isinstance(value, dict):
        return ""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return ""
    return f"Default: {json.dumps(value, ensure_ascii=False)}."


def _joined(*texts: str | None) -> str:
    lines = (" ".join(text.split()) for text in texts if text)
    return " ".join(dict.fromkeys(lines))

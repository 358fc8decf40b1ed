"""Base models of the API: frozen, camelCase on the wire, unknown fields refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """What users write. Unknown fields are errors, values cannot change after parsing."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        str_strip_whitespace=False,
    )


class WireModel(BaseModel):
    """What another release of ours may have written (records, reports): unknown fields are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, allow_inf_nan=False
    )

    def to_wire(self) -> dict[str, object]:
        """Return the JSON-ready form: camelCase keys, absent optionals left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(WireModel):
    """What the operator writes for users to read: as WireModel, with descriptions for `kubectl explain`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

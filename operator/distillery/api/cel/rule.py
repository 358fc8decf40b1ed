"""Rules that span fields in CEL, for the API server: those of `v1alpha1.checks` that only need the object. Pure.

Each says in its message what is wrong and the repair, and names the check that it stands for. Where CEL can only
judge the clear cases (no Unicode folding, no free-form parts, bounded cost) the check itself finds the rest, and the
operator shows it as condition InvalidSpec. A rule never refuses what its check allows. Defaults are not set in the
object, so rules repeat them; a test compares them with the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal["FieldValueRequired", "FieldValueForbidden"]
"""The reasons with which the server shows the message; with FieldValueDuplicate it does not."""

FORBIDDEN: Reason = "FieldValueForbidden"
REQUIRED: Reason = "FieldValueRequired"


@dataclass(frozen=True, slots=True)
class Cel:
    """One rule: what must hold, what is wrong otherwise, the repair; the field below its place, and its check."""

    rule: str
    message: str
    repair: str
    field: str = ""
    reason: Reason | None = None
    check: str = ""

    def to_schema(self) -> dict[str, object]:
        """Return it as an item of x-kubernetes-validations."""
        schema: dict[str, object] = {"rule": self.rule, "message": f"{self.message} → {self.repair}"}
        if self.field:
            schema["fieldPath"] = self.field
        if self.reason:
            schema["reason"] = self.reason
        return schema


HARD_ONLY = "write loss: {hard: 1, soft: 0}"


def either(path: str, default: str) -> str:
    """Return an optional field of `self`, or its default."""
    parts = path.split(".")
    there = " && ".join(f"has(self.{'.'.join(parts[:depth])})" for depth in range(1, len(parts) + 1))
    return f"({there} ? self.{path} : {default})"


def unset(path: str) -> str:
    """Return that an optional field of `self` is not written."""
    parts = path.split(".")
    return (
        "(" + " || ".join(f"!has(self.{'.'.join(parts[:depth])})" for depth in range(1, len(parts) + 1)) + ")"
    )


def one_of(fields: tuple[str, ...], message: str, check: str) -> Cel:
    """Return that exactly one of some fields of `self` is written."""
    given = ", ".join(f"has(self.{field})" for field in fields)
    return Cel(
        f"[{given}].exists_one(given, given)",
        message,
        f"write exactly one of {', '.join(fields)}",
        check=check,
    )

"""The manifest: what an artifact consists of, what it cost and where it came from. Written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from distillery.api.base import WireModel
from distillery.artifacts.layout import check_key

MANIFEST_VERSION = 1


def canonical_json(value: object) -> bytes:
    """Encode a JSON value so that equal values give equal bytes: sorted keys, no blanks, UTF-8.

    Raises: ValueError for NaN and infinities, TypeError for values that JSON lacks.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: object) -> str:
    """Return the sha256 hex digest of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


class ManifestFile(WireModel):
    """One payload file, its path relative to the writer's prefix."""

    path: Annotated[str, AfterValidator(check_key)]
    size: int
    sha256: str


class Cost(WireModel):
    """What a stage paid its teacher. Amounts are integer micro-units of the currency (1e-6)."""

    currency: str = "USD"
    spent_micro: int = 0
    unknown_micro: int = 0
    """Upper bound of calls whose outcome was lost in a crash; beside `spent_micro`."""
    calls: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0


class Parent(WireModel):
    """An artifact that was read."""

    stage: str
    identity: str
    output_digest: str


class Manifest(WireModel):
    """A complete artifact."""

    version: int = MANIFEST_VERSION
    stage: str
    identity: str
    recipe: str
    writer: str
    files: list[ManifestFile]
    output_digest: str
    """Digest of the logical content only: not timings, ledger, logs, plots."""
    counts: dict[str, int] = Field(default_factory=dict)
    summary: dict[str, Any] = Field(default_factory=dict)
    cost: Cost = Cost()
    parents: list[Parent] = Field(default_factory=list)
    provenance: dict[str, Any] = Field(default_factory=dict)
    """distillery and library versions, spec digest, seeds."""
    created_at: str = ""

    def encode(self) -> bytes:
        """Return the bytes that are stored."""
        return json.dumps(self.to_wire(), indent=1, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Parse stored bytes. Raises: pydantic.ValidationError."""
        return cls.model_validate_json(data)


def logical_digest(parts: Mapping[str, str]) -> str:
    """Combine named digests of the logical parts of an artifact into its output digest."""
    return digest(dict(parts))

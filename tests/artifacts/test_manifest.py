"""The manifest and the digests that name things: pinned, canonical, readable by other releases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distillery.artifacts.manifest import (
    Cost,
    Manifest,
    ManifestFile,
    Parent,
    canonical_json,
    digest,
    logical_digest,
)

EXAMPLE = Manifest(
    stage="filter",
    identity="1f" * 32,
    recipe="2e" * 32,
    writer="0a1b2c3d4e5f",
    files=[ManifestFile(path="kept.parquet", size=1234, sha256="3d" * 32)],
    output_digest="4c" * 32,
    counts={"kept": 900, "rejected": 100},
    summary={"discardShare": 0.1},
    cost=Cost(spent_micro=2_500_000, calls=10, prompt_tokens=1000, completion_tokens=30),
    parents=[Parent(stage="teacher", identity="5b" * 32, output_digest="6a" * 32)],
    provenance={"distillery": "0.1.0", "seeds": {"split": 17}},
    created_at="2026-11-22T10:00:00+00:00",
)


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert Manifest.decode(EXAMPLE.encode()) == EXAMPLE


def test_the_stored_form_is_camel_case_json_in_the_order_of_the_fields() -> None:
    stored = json.loads(EXAMPLE.encode())
    assert list(stored)[:4] == ["version", "stage", "identity", "recipe"]
    assert stored["outputDigest"] == "4c" * 32
    assert stored["cost"]["spentMicro"] == 2_500_000
    assert stored["version"] == 1


def test_fields_of_a_later_release_are_ignored() -> None:
    stored = {**json.loads(EXAMPLE.encode()), "colour": "blue"}
    assert Manifest.decode(json.dumps(stored).encode()) == EXAMPLE


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "", "a/./b"])
def test_files_stay_below_the_writers_folder(path: str) -> None:
    with pytest.raises(ValidationError):
        ManifestFile(path=path, size=1, sha256="0")


def test_digests_are_pinned() -> None:
    assert digest({"b": [1, 2.5, None, True], "a": "ä"}) == (
        "26d99402c903f4cd8796458b9c84dff664e230343754991756438993a710b66a"
    )
    assert logical_digest({"kept": "x", "rejected": "y"}) == digest({"rejected": "y", "kept": "x"})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def shuffled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    if isinstance(value, list):
        return [shuffled(item) for item in value]
    return value


@given(value=JSON.filter(lambda value: "\\ud" not in json.dumps(value)))
def test_equal_values_have_equal_bytes_that_read_back(value: Any) -> None:
    encoded = canonical_json(value)
    assert json.loads(encoded) == value
    assert canonical_json(shuffled(value)) == encoded


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", object()])
def test_what_json_lacks_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical_json(value)

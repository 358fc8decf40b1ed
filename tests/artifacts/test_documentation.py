"""docs/artifacts.md names every column of every table, in order, with its type."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from artifacts.places import ROOT
from distillery.artifacts import tables

PAGE = (ROOT / "docs" / "artifacts.md").read_text(encoding="utf-8")
TABLES = {
    "inputs": tables.INPUTS,
    "completions": tables.COMPLETIONS,
    "kept": tables.KEPT,
    "rejected": tables.REJECTED,
    "training_log": tables.TRAINING_LOG,
    "predictions": tables.PREDICTIONS,
}


def in_words(kind: pa.DataType) -> str:
    if not pa.types.is_list(kind):
        return str(kind)
    inner = kind.value_type
    if pa.types.is_struct(inner):
        return "list of structs"
    return "list of " + {"string": "strings", "float": "float32"}[str(inner)]


@pytest.mark.parametrize("name", TABLES)
def test_the_page_has_the_columns_of(name: str) -> None:
    section = PAGE.split(f"\n**{name}**\n")[1].split("\n**")[0]
    documented = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section.split("\n## ")[0], re.MULTILINE)
    assert documented == [(column.name, in_words(column.type)) for column in TABLES[name]]


def test_the_page_names_the_version() -> None:
    assert f"\n## Tables, version {tables.TABLES_VERSION}\n" in PAGE

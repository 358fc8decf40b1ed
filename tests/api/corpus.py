"""Good and bad objects: the corpus that validation and a real API server both have to judge."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.api.paths import parse_path, place, remove
from distillery.api.yaml import load_yaml

FOLDER = Path(__file__).parent
KINDS = ("good", "bad", "later")


@dataclass(frozen=True)
class Case:
    """One object: how it should be judged, where the mistake is, what the API server says to do about it."""

    name: str
    kind: str
    body: dict[str, Any]
    field: str
    found: str
    says: str


def cases(name: str) -> list[Case]:
    """Read the corpus `jobs` or `profiles`."""
    corpus = load_yaml((FOLDER / "corpus" / f"{name}.yaml").read_text(), name)
    base = corpus.get("base") or load_yaml((FOLDER / "good.yaml").read_text(), "good.yaml")
    return [_case(entry, kind, base) for kind in KINDS for entry in corpus[kind]]


def _case(entry: dict[str, Any], kind: str, base: dict[str, Any]) -> Case:
    body = copy.deepcopy(base)
    for text, value in entry["set"].items():
        path = parse_path(text)
        if value is None:
            remove(body, path)
        else:
            place(body, path, copy.deepcopy(value))
    field = entry.get("field", "")
    return Case(entry["name"], kind, body, field, entry.get("found", field), entry.get("says", ""))

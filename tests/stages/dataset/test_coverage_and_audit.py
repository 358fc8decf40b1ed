"""The two reports about the table: what slices have, and what the audit finds in a table with planted leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from distillery.api.v1alpha1.dataset import Slice
from distillery.stages.dataset.audit import audit_of, near_found
from distillery.stages.dataset.coverage import coverage_of
from distillery.stages.dataset.inputs import Funnel, Inputs
from distillery.stages.dataset.slices import Slicer, matches


def row(row_id: str, split: str = "train", text: str | None = None, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text or f"text {row_id}"}]
    base = {"row_id": row_id, "split": split, "group": None, "messages": messages, "reference": None}
    return base | {"slices": [], "copies": 1} | fields


FUNNEL = Funnel(9, 1, 0, {"train": 1, "validation": 0, "test": 0}, 0)


def test_coverage_counts_slices_by_split_and_says_where_they_are_thin() -> None:
    rows = [
        *(row(f"a{n}", slices=["lang=de"], reference="x", copies=2) for n in range(30)),
        *(row(f"b{n}", slices=["lang=en"], group="g") for n in range(60)),
        *(row(f"c{n}", "test", slices=["lang=de", "lang=en"], reference="y") for n in range(30)),
        row("d", "validation", slices=[]),
    ]
    slices = [Slice(name="lang", by_column="lang"), Slice(name="short", where={"short": True})]
    coverage = coverage_of(Inputs(rows, FUNNEL), slices, ["x", "y"])

    def counts(rows: int, share: float, uses: int, groups: int, x: int = 0, y: int = 0) -> dict[str, Any]:
        labels = {"x": x, "y": y}
        return {
            "rows": rows,
            "share": share,
            "uses": uses,
            "groups": groups,
            "references": x + y,
            "labels": labels,
        }

    nothing = counts(0, 0.0, 0, 0)
    assert coverage == {
        "version": 1,
        "rows": 121,
        "funnel": {
            "read": 9,
            "duplicates": 1,
            "beyondLimit": 0,
            "nearDuplicates": {"train": 1, "validation": 0, "test": 0},
            "conflictingReferences": 0,
        },
        "splits": {
            "train": counts(90, 0.743802, 120, 31, x=30),
            "validation": counts(1, 0.008264, 1, 1),
            "test": counts(30, 0.247934, 30, 30, y=30),
        },
        "slices": [
            {
                "name": "lang=de",
                "rows": 60,
                "thin": [],
                "splits": {
                    "train": counts(30, 0.333333, 60, 30, x=30),
                    "validation": nothing,
                    "test": counts(30, 1.0, 30, 30, y=30),
                },
            },
            {
                "name": "lang=en",
                "rows": 90,
                "thin": ["train"],
                "splits": {
                    "train": counts(60, 0.666667, 60, 1),
                    "validation": nothing,
                    "test": counts(30, 1.0, 30, 30, y=30),
                },
            },
            {
                "name": "short",
                "rows": 0,
                "thin": ["train", "test"],
                "splits": {"train": nothing, "validation": nothing, "test": nothing},
            },
        ],
    }


CLEAN = [
    row(f"r{n}", ("train", "test", "validation")[n % 3], f"one {n} two {n * 3} three") for n in range(30)
]
LONG = "the quick brown fox jumps over the lazy dog and runs away from"


@pytest.mark.parametrize(
    ("planted", "want"),
    [
        ([], {}),
        (
            [row("x", "train", "same  text"), row("y", "test", "same text")],
            {"exactDuplicatesAcrossSplits": 1, "near": {"trainNearTest": 1}},
        ),
        (
            [row("x", "train", group="g"), row("y", "validation", group="g")],
            {"groupsAcrossSplits": 1},
        ),
        ([row("x"), row("x")], {"repeatedIds": 1}),
        ([row("x", "test", copies=2)], {"copiesOutsideTraining": 1}),
        (
            [row("x", "validation", f"{LONG} me"), row("y", "test", f"{LONG} you")],
            {"near": {"validationNearTest": 1}},
        ),
        (
            [
                row("x", "train", f"{LONG} me"),
                row("y", "validation", f"{LONG} you"),
                row("z", "train", f"{LONG} it"),
            ],
            {"near": {"trainNearValidation": 2}},
        ),
    ],
)
def test_the_audit_finds_what_was_planted(planted: list[dict[str, Any]], want: dict[str, Any]) -> None:
    near = {"trainNearTest": 0, "trainNearValidation": 0, "validationNearTest": 0} | want.get("near", {})
    kinds = ("exactDuplicatesAcrossSplits", "groupsAcrossSplits", "repeatedIds", "copiesOutsideTraining")
    counts = {kind: want.get(kind, 0) for kind in kinds}
    for threshold in (0.8, None):
        audit = audit_of([*CLEAN, *planted], threshold)
        similar = {"threshold": 0.8, "enforced": threshold is not None, "checked": True, "rows": near}
        found = sum(counts.values()) + (sum(near.values()) if threshold else 0)
        assert audit == {
            "version": 1,
            "rows": 30 + len(planted),
            **counts,
            "nearDuplicatesAcrossSplits": similar,
            "clean": found == 0,
        }
        assert near_found(audit) == sum(near.values())


@pytest.mark.parametrize(
    ("record", "wanted", "want"),
    [
        ({"lang": "de"}, "de", True),
        ({"lang": "de"}, ["fr", "de"], True),
        ({"lang": "en"}, "de", False),
        ({}, "de", False),
        ({}, None, True),
        ({"lang": None}, None, True),
        ({"lang": ""}, None, False),
        ({"lang": True}, 1, False),
        ({"lang": True}, True, True),
        ({"lang": 1}, True, False),
        ({"lang": "12345"}, 12345, True),
        ({"lang": 12345}, "12345", True),
        ({"lang": ["de", "at"]}, "at", True),
        ({"lang": ["de", "at"]}, "ch", False),
    ],
)
def test_a_predicate_compares_values_not_python_objects(
    record: dict[str, Any], wanted: object, want: bool
) -> None:
    assert matches(record, "lang", wanted) is want


def test_a_row_is_in_every_slice_that_fits() -> None:
    slicer = Slicer(
        [
            Slice(name="kind", by_column="meta.kind"),
            Slice(name="tag", by_column="tags"),
            Slice(name="urgent german", where={"lang": "de", "meta.urgent": True}),
        ]
    )
    record = {"meta": {"kind": 7, "urgent": True}, "tags": ["b", "a", None, ""], "lang": "de"}
    assert slicer.names(record) == ("kind=7", "tag=a", "tag=b", "urgent german")
    assert slicer.names({"meta": {"kind": None}, "lang": "de"}) == ()


def test_the_whole_stage_names_slices_in_the_table(inputs_of: Callable[..., Inputs]) -> None:
    rows = [{"text": f"row {n}", "lang": "de" if n % 4 else "en"} for n in range(80)]
    slices = [{"name": "german", "where": {"lang": "de"}}, {"name": "lang", "byColumn": "lang"}]
    found = {row["messages"][0]["content"]: row["slices"] for row in inputs_of(rows, slices=slices).rows}
    assert found == {f"row {n}": ["german", "lang=de"] if n % 4 else ["lang=en"] for n in range(80)}

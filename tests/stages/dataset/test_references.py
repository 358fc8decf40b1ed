"""Gates that compare with references are checked against the test rows before anything is bought."""

from __future__ import annotations

from typing import Any

import pytest

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import SpecError
from distillery.stages.dataset.references import check_references
from distillery.stages.dataset.spec import JudgedOn, judged_on


def rows_with(references: int, rows: int = 100) -> list[dict[str, Any]]:
    return [{"reference": "billing" if number < references else None} for number in range(rows)]


def test_gates_on_references_that_no_test_row_has_are_refused() -> None:
    with pytest.raises(SpecError, match="none of the 100 test rows has one"):
        check_references(rows_with(0), "references")


@pytest.mark.parametrize("wanted", ["references", "references if any"])
def test_few_references_among_many_rows_are_told(wanted: JudgedOn) -> None:
    warning = check_references(rows_with(29), wanted)
    assert warning is not None
    assert warning.startswith("only 29 of 100 test rows have a reference")


@pytest.mark.parametrize(
    ("known", "rows", "wanted"),
    [(30, 100, "references"), (20, 20, "references"), (0, 100, "references if any"), (3, 100, "agreement")],
)
def test_enough_references_or_none_needed_say_nothing(known: int, rows: int, wanted: JudgedOn) -> None:
    assert check_references(rows_with(known, rows), wanted) is None


@pytest.mark.parametrize(
    ("form", "gates", "want"),
    [
        ("label", {}, "agreement"),
        ("label", {"latency": {"p95Ms": 5}}, "agreement"),
        ("label", {"retention": {}}, "references if any"),
        ("label", {"slices": {"minRetention": 0.9}}, "references if any"),
        ("label", {"retention": {"basis": "teacher"}}, "agreement"),
        ("label", {"retention": {"basis": "reference"}}, "references"),
        ("text", {"retention": {}}, "references"),
        ("text", {"slices": {"minRetention": 0.9}}, "references"),
    ],
)
def test_what_the_gates_compare_with_follows_from_the_spec(
    form: str, gates: dict[str, Any], want: JudgedOn
) -> None:
    output = {"format": form, **({"labels": ["a", "b"]} if form == "label" else {})}
    spec = DistillationJobSpec.model_validate(
        {
            "task": {"output": output},
            "dataset": {"sources": [{"uri": "file:///rows.jsonl"}], "input": "{text}"},
            "teacher": {"model": "large", "endpoint": {"url": "http://teacher/v1"}},
            "student": {"base": {"architecture": {"model_type": "llama"}}},
            "evaluation": {"gates": gates},
        }
    )
    assert judged_on(spec) == want

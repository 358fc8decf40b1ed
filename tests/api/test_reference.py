from __future__ import annotations

from pathlib import Path

from distillery.api.fields import walk
from distillery.api.paths import format_path
from distillery.api.reference import render
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.status import Status

PAGE = Path(__file__).parents[2] / "docs" / "fields.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_field_has_a_line() -> None:
    page = render()
    for root, model in (("spec", DistillationJobSpec), ("status", Status)):
        paths = [format_path((root, *path)).replace("[0]", "[]") for path, _ in walk(model)]
        assert [path for path in paths if f"| `{path}` |" not in page] == []


def test_lines_say_type_default_and_meaning() -> None:
    lines = render().splitlines()
    for want in (
        "| `spec.student.optimizer.learningRate` | number (> 0 and ≤ 1) | `0.0002` | Peak learning rate. |",
        "| `spec.budget.maxCost` | money |  | Hard limit on reserved + spent; needs teacher.pricing. |",
        "| `spec.teacher.model` | text (1 to 256 characters) | required | Model name sent to the endpoint. |",
        '| `spec.dataset.sources[].format` | `plain`, `chat`, `prompt-completion` | `"plain"` | `plain` rows are '
        "rendered by `input`; `chat` rows have `messages`; `prompt-completion` `prompt`. |",
    ):
        assert want in lines

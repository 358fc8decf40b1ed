"""Recipes of a published example: what only says where and how long a job runs leaves finished work findable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distillery.api.paths import parse_path, place
from distillery.api.validation import validate_job
from distillery.api.yaml import load_yaml
from distillery.planning.plan import build_plan

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart" / "job.yaml"
RECIPES = {
    "dataset": "633add7340458f7d38c567af310605d7548f124a2e3a3bea48187ce93913546a",
    "teacher": "5778fae9a16283dcbd3b71d578113e2b2c41b10f9930c42621bf2ae70c3d149e",
    "filter": "124d80466a75d3a04d2cc5e98794f435d52cced8c589581dd49ef034790e2dc4",
    "student": "a2b22dcb66fbc6d11c64b2575d83ca0ab0ea246b1dd31711344f4e6bf332290b",
    "evaluation": "451da12ad6a0451ae15ade15f21830676bea95303ffb25564a71ca37ea7b9e66",
}
"""As the first release named them. A change here means that every user pays for new answers and new training."""

OPERATIONAL: dict[str, object] = {
    "spec.profile": "standard",
    "spec.suspend": True,
    "spec.activeDeadlineSeconds": 3600,
    "spec.ttlSecondsAfterFinished": 0,
    "spec.teacher.workers": {"replicas": 2, "resources": {"cpu": 1}},
    "spec.student.workers": {"replicas": 4, "resources": {"nvidia.com/gpu": 1}},
    "spec.budget.maxGPUHours": 40,
    "spec.filter.review.required": True,
    "spec.storage": {"uri": "s3://models/distillery", "credentialsSecret": "s3"},
}


def recipes(changes: dict[str, object]) -> dict[str, str]:
    data: dict[str, Any] = load_yaml(QUICKSTART.read_text(), "job.yaml")
    for path, value in changes.items():
        place(data, parse_path(path), value)
    plan = build_plan(validate_job(data), "uid", "s3://models/distillery")
    return {run.stage: run.recipe for run in plan.runs}


def test_the_recipes_of_the_quickstart_stay_what_they_were() -> None:
    assert recipes({}) == RECIPES


@pytest.mark.parametrize("path", OPERATIONAL)
def test_an_operational_field_names_no_other_work(path: str) -> None:
    assert recipes({path: OPERATIONAL[path]}) == RECIPES

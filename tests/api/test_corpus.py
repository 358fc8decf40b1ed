"""Validation judges the corpus as the API server does, and finds what that cannot judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from api.corpus import Case, cases
from distillery.api.profiles import validate_profile
from distillery.api.validation import validate_job
from distillery.errors import SpecError

JOBS, PROFILES = cases("jobs"), cases("profiles")
Validate = Callable[[Mapping[str, Any]], object]


def check(case: Case, validate: Validate) -> None:
    if case.kind == "good":
        validate(case.body)
        return
    with pytest.raises(SpecError) as caught:
        validate(case.body)
    assert case.found in [problem.path for problem in caught.value.problems]
    assert all(problem.repair for problem in caught.value.problems)


@pytest.mark.parametrize("case", JOBS, ids=lambda case: case.name)
def test_validation_judges_the_job_as_the_corpus_says(case: Case) -> None:
    check(case, validate_job)


@pytest.mark.parametrize("case", PROFILES, ids=lambda case: case.name)
def test_validation_judges_the_profile_as_the_corpus_says(case: Case) -> None:
    check(case, validate_profile)


def test_the_corpus_is_large_and_its_names_are_distinct() -> None:
    assert len(JOBS) + len(PROFILES) >= 60
    for corpus in (JOBS, PROFILES):
        assert len({case.name for case in corpus}) == len(corpus)
        assert all(case.field and case.says for case in corpus if case.kind == "bad")

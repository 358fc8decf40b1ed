"""Mapping → DistillationProfile, or every mistake at once, as for jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from distillery.api.bounds import PROFILE_PARTS, check_bounds
from distillery.api.rescue import parse
from distillery.api.sentences import problem_of
from distillery.api.v1alpha1.checks.profile import PROFILE_CHECKS
from distillery.api.v1alpha1.distillation_profile import PROFILE_KIND, DistillationProfile
from distillery.api.validation import identity_problems, masked_problem, without_nulls
from distillery.errors import SpecError


def validate_profile(data: Mapping[str, Any]) -> DistillationProfile:
    """Return the profile that a mapping describes. Fields whose value is null count as absent.

    Raises:
        SpecError: with every problem; paths are field paths. The rules that span fields are judged once every
            field is right in itself.
    """
    check_bounds(data, PROFILE_PARTS)
    data = without_nulls(data, DistillationProfile)
    problems = identity_problems(data, PROFILE_KIND)
    try:
        profile = parse(DistillationProfile, data)
    except ValidationError as error:
        problems += [problem_of(entry, DistillationProfile) for entry in error.errors(include_url=False)]
        raise SpecError(*map(masked_problem, problems)) from None
    problems += [problem for check in PROFILE_CHECKS for problem in check(profile.spec)]
    if problems:
        raise SpecError(*map(masked_problem, problems))
    return profile

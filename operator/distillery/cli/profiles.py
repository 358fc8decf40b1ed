"""A DistillationProfile as `validate` judges it: by the rules that the operator has, each mistake with its line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from distillery.api import paths
from distillery.api.overrides import OPTION, apply_overrides
from distillery.api.profiles import validate_profile
from distillery.api.showing import masked
from distillery.api.v1alpha1.distillation_profile import DistillationProfile
from distillery.api.validation import masked_problem
from distillery.api.yaml import Document, load_document
from distillery.errors import Problem, SpecError
from distillery.manifests.rayjob import pod_problems
from distillery.planning.profile import BuiltinProfile, resolve

NO_IMAGE = BuiltinProfile(image="")
"""Stands for the operator's settings, which say nothing of pod templates."""


def load_profile(text: bytes, file: Path, overrides: Sequence[tuple[str, str]]) -> DistillationProfile:
    """Return the profile that a manifest describes; its pod templates are such as the operator renders.

    Raises: SpecError with every problem, in the order of the file.
    """
    document = load_document(text, str(file))
    changed, problems = apply_overrides(document.data, overrides, DistillationProfile)
    try:
        profile = validate_profile(document.data)
        found: Iterable[Problem] = pod_problems(resolve(profile, NO_IMAGE))
    except SpecError as error:
        found = error.problems
    placed = sorted((_placed(problem, document, changed) for problem in found), key=lambda item: item[0])
    problems = [*(problem for _, problem in placed), *problems]
    if problems:
        raise SpecError(*problems)
    return profile


def _placed(problem: Problem, document: Document, changed: Iterable[paths.Path]) -> tuple[int, Problem]:
    """Return a problem with its place, and the line by which it is sorted."""
    path = _path(problem.path)
    line = document.line_of(path)
    overridden = any(other == path[: len(other)] for other in changed)
    place = OPTION if overridden else f"{document.file}:{line}"
    return line, masked_problem(replace(problem, path=masked(problem.path), place=place))


def _path(text: str) -> paths.Path:
    """Return a path, or that of what surrounds it: the keys of a template may be any text, and stand in it as such."""
    while text:
        try:
            return paths.parse_path(text)
        except ValueError:
            text = text.rpartition(".")[0]
    return ()

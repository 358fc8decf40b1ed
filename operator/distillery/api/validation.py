"""Text → DistillationJob, or every mistake at once: the field, its line, the value, the repair. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from distillery.api.bounds import JOB_PARTS, check_bounds
from distillery.api.fields import core, fields_of
from distillery.api.overrides import OPTION, apply_overrides
from distillery.api.paths import Path, overlap, parse_path
from distillery.api.rescue import parse, rescue
from distillery.api.sentences import problem_of
from distillery.api.showing import masked
from distillery.api.v1alpha1.checks import CHECKS
from distillery.api.v1alpha1.common import API_VERSION
from distillery.api.v1alpha1.distillation_job import KIND, DistillationJob, DistillationJobSpec
from distillery.api.yaml import Document, load_document
from distillery.errors import Problem, SpecError

MAX_PROBLEMS = 50


def load_job(
    text: bytes | str, *, file: str, overrides: Sequence[tuple[str, object]] = ()
) -> DistillationJob:
    """Return the job that a manifest describes.

    Args:
        text: the manifest.
        file: its name, for messages.
        overrides: field paths and values to set before validation; text values are read as YAML.

    Raises:
        SpecError: with every problem, in the order of the file.
    """
    document = load_document(text, file)
    changed, unapplied = apply_overrides(document.data, overrides, DistillationJob)
    try:
        job = validate_job(document.data)
    except SpecError as error:
        found = [_placed(problem, document, changed) for problem in error.problems]
    else:
        if not unapplied:
            return job
        found = []
    raise SpecError(*_shortened([*found, *unapplied], document))


def validate_job(data: Mapping[str, Any]) -> DistillationJob:
    """Return the job that a mapping describes.

    Fields whose value is null count as absent, as they do for the API server. The rules that span fields are
    judged even if other fields are wrong, as long as those that they read are right.

    Raises:
        SpecError: with every problem; paths are field paths.
    """
    job = parse_job(data)
    problems = _check(job.spec, [])
    if problems:
        raise SpecError(*map(masked_problem, problems))
    return job


def parse_job(data: Mapping[str, Any]) -> DistillationJob:
    """Return the job that a mapping describes, without judging the rules that span fields.

    Raises:
        SpecError: if a field is wrong, with every problem, those of the rules too.
    """
    check_bounds(data, JOB_PARTS)
    data = without_nulls(data, DistillationJob)
    problems = identity_problems(data, KIND)
    try:
        job = parse(DistillationJob, data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems += [problem_of(entry, DistillationJob) for entry in errors]
        spec, doubtful = rescue(data, errors)
    else:
        if not problems:
            return job
        spec, doubtful = job.spec, []
    problems += _check(spec, doubtful)
    raise SpecError(*map(masked_problem, dict.fromkeys(problems)))


def without_nulls(value: Any, wanted: Any) -> Any:
    """Drop null fields of models; free-form parts stay as they are."""
    if isinstance(value, list):
        inner = core(get_args(wanted)[0]) if get_origin(wanted) is list else None
        return [without_nulls(item, inner) for item in value]
    if not isinstance(value, dict) or not (isinstance(wanted, type) and issubclass(wanted, BaseModel)):
        return value
    fields = fields_of(wanted)
    return {
        key: without_nulls(item, fields[key].type if key in fields else None)
        for key, item in value.items()
        if item is not None
    }


def identity_problems(data: Mapping[str, Any], kind: str) -> list[Problem]:
    """What makes the object one of ours has defaults in Python, but is required in a file."""
    wanted = {"apiVersion": API_VERSION, "kind": kind}
    return [
        Problem(key, "is required", f"add {key}: {value}") for key, value in wanted.items() if key not in data
    ]


def _check(spec: DistillationJobSpec, doubtful: Sequence[Path]) -> list[Problem]:
    """Run the rules whose premises are not in doubt."""
    return [
        problem
        for check in CHECKS
        if not any(overlap(("spec", *parse_path(read)), path) for read in check.reads for path in doubtful)
        for problem in check.judge(spec)
    ]


def _placed(problem: Problem, document: Document, changed: Iterable[Path]) -> Problem:
    path = parse_path(problem.path)
    overridden = any(other == path[: len(other)] for other in changed)
    place = OPTION if overridden else f"{document.file}:{document.line_of(path)}"
    return replace(problem, path=masked(problem.path), place=place)


def masked_problem(problem: Problem) -> Problem:
    """Return a problem with everything in its words that looks secret replaced."""
    return replace(problem, message=masked(problem.message), repair=masked(problem.repair))


def _shortened(problems: list[Problem], document: Document) -> list[Problem]:
    """Sort by line and cut the tail of a long list."""

    def line(problem: Problem) -> int:
        number = problem.place.rpartition(":")[2]
        return int(number) if number.isdecimal() else sys.maxsize

    problems = sorted(problems, key=line)
    if len(problems) > MAX_PROBLEMS:
        rest = len(problems) - MAX_PROBLEMS
        problems[MAX_PROBLEMS:] = [Problem(document.file, f"{rest} more problems", "repair these first")]
    return problems

"""Text → DistillationJob, or every mistake at once: the field, its line, the value, the repair. Pure."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from distillery.api.fields import core, fields_of
from distillery.api.overrides import OPTION, apply_overrides
from distillery.api.paths import Path, is_there, overlap, parse_path, remove
from distillery.api.sentences import location, problem_of, suggestion
from distillery.api.v1alpha1.checks import CHECKS
from distillery.api.v1alpha1.common import API_VERSION
from distillery.api.v1alpha1.distillation_job import KIND, DistillationJob, DistillationJobSpec
from distillery.api.yaml import Document, load_document
from distillery.errors import Problem, SpecError

MAX_PROBLEMS = 50
_ROUNDS = 8
Model = TypeVar("Model", bound=BaseModel)


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
    data = _without_nulls(data, DistillationJob)
    problems = _identity_problems(data)
    try:
        job = _parse(DistillationJob, data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems += [problem_of(entry, DistillationJob) for entry in errors]
        bad = [path for entry in errors for path in _doubtful(location(entry), data)]
        problems += _check(_rescued(data, bad), bad)
        raise SpecError(*dict.fromkeys(problems)) from None
    problems += _check(job.spec, [])
    if problems:
        raise SpecError(*problems)
    return job


def _parse(model: type[Model], data: object) -> Model:
    # As JSON and strictly: "3" is no number for the API server either, nor is snake_case a field.
    return model.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)


def _without_nulls(value: Any, wanted: Any) -> Any:
    """Drop null fields of models; free-form parts stay as they are."""
    if isinstance(value, list):
        inner = core(get_args(wanted)[0]) if get_origin(wanted) is list else None
        return [_without_nulls(item, inner) for item in value]
    if not isinstance(value, dict) or not (isinstance(wanted, type) and issubclass(wanted, BaseModel)):
        return value
    fields = fields_of(wanted)
    return {
        key: _without_nulls(item, fields[key].type if key in fields else None)
        for key, item in value.items()
        if item is not None
    }


def _identity_problems(data: Mapping[str, Any]) -> list[Problem]:
    """What makes the object one of ours has defaults in Python, but is required in a file."""
    wanted = {"apiVersion": API_VERSION, "kind": KIND}
    return [
        Problem(key, "is required", f"add {key}: {value}") for key, value in wanted.items() if key not in data
    ]


def _doubtful(path: Path, data: Mapping[str, Any]) -> list[Path]:
    """Return what cannot be relied on after an error at `path`: that place, and the one that was meant.

    An error in a list makes the whole list doubtful, since the others move up when an item is taken out.
    """
    whole = next((path[:depth] for depth, step in enumerate(path) if isinstance(step, int)), path)
    meant = suggestion(path, DistillationJob) if path and isinstance(path[-1], str) else None
    return [whole] if meant is None or is_there(data, meant) else [whole, meant]


def _rescued(data: Mapping[str, Any], bad: list[Path]) -> DistillationJobSpec:
    """Build as much of a faulty spec as can be: each section without its wrong fields, or not at all.

    Sections that cannot be built are added to `bad`, and so is everything else that had to be taken out.
    """
    sections = data.get("spec")
    sections = sections if isinstance(sections, dict) else {}
    built: dict[str, Any] = {}
    for name, field in fields_of(DistillationJobSpec).items():
        section = None
        if name in sections and field.model is not None:
            section = _rescued_section(field.model, name, data, bad)
        if section is not None:
            built[field.attribute] = section
        elif name in sections or field.info.is_required():
            bad.append(("spec", name))
    return DistillationJobSpec.model_construct(**built)


def _rescued_section(
    model: type[BaseModel], name: str, data: Mapping[str, Any], bad: list[Path]
) -> BaseModel | None:
    raw = copy.deepcopy(data["spec"][name])
    for _ in range(_ROUNDS):
        try:
            return _parse(model, raw)
        except ValidationError as error:
            # From the end, so that the indexes of a list's earlier items stay what they are.
            for entry in reversed(error.errors(include_url=False)):
                where = location(entry)
                taken = where[:-1] if entry["type"] == "missing" else where
                if not taken:
                    return None
                bad.extend(_doubtful(("spec", name, *taken), data))
                remove(raw, taken)
    return None


def _check(spec: DistillationJobSpec, bad: Sequence[Path]) -> list[Problem]:
    """Run the rules whose premises are not in doubt."""
    return [
        problem
        for check in CHECKS
        if not any(overlap(("spec", *parse_path(read)), path) for read in check.reads for path in bad)
        for problem in check.judge(spec)
    ]


def _placed(problem: Problem, document: Document, changed: Iterable[Path]) -> Problem:
    path = parse_path(problem.path)
    overridden = [OPTION for other in changed if other == path[: len(other)]]
    return replace(
        problem, place=overridden[0] if overridden else f"{document.file}:{document.line_of(path)}"
    )


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

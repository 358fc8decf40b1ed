"""What can still be said of a faulty manifest: the sections without their mistakes, and what is in doubt. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from distillery.api.fields import fields_of
from distillery.api.paths import Path, is_there, remove
from distillery.api.sentences import location, suggestion
from distillery.api.v1alpha1.distillation_job import DistillationJob, DistillationJobSpec

_ROUNDS = 8
Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], data: object) -> Model:
    """Parse strictly: "3" is no number for the API server either, and a field has one spelling.

    Raises: pydantic.ValidationError.
    """
    return model.model_validate_json(json.dumps(data), strict=True, by_alias=True, by_name=False)


def rescue(data: Mapping[str, Any], errors: Iterable[ErrorDetails]) -> tuple[DistillationJobSpec, list[Path]]:
    """Build as much of a faulty spec as can be: each section without its wrong fields, or not at all.

    Returns: the spec, and the paths that cannot be relied on, since something there is wrong or missing.
    """
    doubtful = [path for error in errors for path in _doubtful(error["type"], location(error), data)]
    raw = data.get("spec")
    sections = raw if isinstance(raw, dict) else {}
    built: dict[str, Any] = {}
    for name, field in fields_of(DistillationJobSpec).items():
        section = None
        if name in sections and field.model is not None:
            section = _section(field.model, name, data, doubtful)
        elif name in sections and not any(path[:2] == ("spec", name) for path in doubtful):
            built[field.attribute] = sections[name]
            continue
        if section is not None:
            built[field.attribute] = section
        elif name in sections or field.info.is_required():
            doubtful.append(("spec", name))
    return DistillationJobSpec.model_construct(**built), doubtful


def _section(
    model: type[BaseModel], name: str, data: Mapping[str, Any], doubtful: list[Path]
) -> BaseModel | None:
    """Build one section, taking out what is wrong and noting it; None if too much is."""
    raw = copy.deepcopy(data["spec"][name])
    for _ in range(_ROUNDS):
        try:
            return parse(model, raw)
        except ValidationError as error:
            # From the end, so that the indexes of a list's earlier items stay what they are.
            for entry in reversed(error.errors(include_url=False)):
                where = location(entry)
                taken = where[:-1] if entry["type"] == "missing" else where
                if not taken:
                    return None
                doubtful += _doubtful(entry["type"], ("spec", name, *taken), data)
                remove(raw, taken)
    return None


def _doubtful(kind: str, path: Path, data: Mapping[str, Any]) -> list[Path]:
    """Return what cannot be relied on after an error of that kind at `path`.

    An error in a list makes the whole list doubtful, since the others move up when an item is taken out. A
    field that does not exist makes nothing doubtful but the one that was meant, if that is not there.
    """
    depth = next((depth for depth, step in enumerate(path) if isinstance(step, int)), None)
    if depth is not None:
        return [path[:depth]]
    if kind != "extra_forbidden":
        return [path]
    meant = suggestion(path, DistillationJob)
    return [] if meant is None or is_there(data, meant) else [meant]

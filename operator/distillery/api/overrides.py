"""`--set path=value`: changes to a manifest on the command line, before it is validated. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from distillery.api.fields import type_at
from distillery.api.paths import Path, parse_path, place
from distillery.api.yaml import load_value
from distillery.errors import Problem, SpecError

OPTION = "--set"


def apply_overrides(
    data: dict[str, Any], overrides: Iterable[tuple[str, object]], root: type[BaseModel]
) -> tuple[list[Path], list[Problem]]:
    """Change `data` in place and return the changed paths and what could not be applied.

    A text value is read as YAML; where the field holds text or money, what is not quoted is taken literally,
    so that `--set spec.budget.maxCost=20` needs no quotes within quotes. Null removes a field.
    """
    changed: list[Path] = []
    problems: list[Problem] = []
    for text, value in overrides:
        try:
            path = parse_path(text)
            place(data, path, _read(value, type_at(root, path)))
            changed.append(path)
        except ValueError:
            repair = "write fields with points and indexes: spec.dataset.sources[0].uri=…"
            problems.append(Problem(f"{OPTION} {text[:80]}", "this is no field path", repair))
        except LookupError as error:
            problems.append(Problem(f"{OPTION} {text}", str(error.args[0]), "name a place that exists"))
        except SpecError as error:
            found = error.problems[0]
            problems.append(Problem(f"{OPTION} {text}", found.message, found.repair))
    return changed, problems


def _read(value: object, wanted: Any) -> object:
    if not isinstance(value, str):
        return value
    literal = wanted in (str, Decimal)
    try:
        read: object = load_value(value, OPTION)
    except SpecError:
        if literal:
            return value
        raise
    return read if read is None or isinstance(read, str) or not literal else value

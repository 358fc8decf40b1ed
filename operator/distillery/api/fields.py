"""The fields of the models as users write them: what stands at a path, and what may stand there. Pure."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from distillery.api.paths import Path


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a model."""

    name: str
    """As users write it."""
    attribute: str
    """As Python writes it."""
    type: Any
    """Without Optional and Annotated: a class, `list[…]`, `dict[…]` or `Literal[…]`."""
    info: FieldInfo

    @property
    def model(self) -> type[BaseModel] | None:
        """The model of a section, or of the items of a list of sections."""
        inner = core(get_args(self.type)[0]) if get_origin(self.type) is list else self.type
        return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None

    @property
    def is_list(self) -> bool:
        """Whether it holds a list."""
        return get_origin(self.type) is list

    @property
    def description(self) -> str:
        """What it is for, in one line."""
        return " ".join((self.info.description or "").split())


def fields_of(model: type[BaseModel]) -> dict[str, Field]:
    """Return the fields of a model by the name that users write."""
    found = (
        Field(info.alias or attribute, attribute, core(info.annotation), info)
        for attribute, info in model.model_fields.items()
    )
    return {entry.name: entry for entry in found}


def core(annotation: Any) -> Any:
    """Return a type without Optional and Annotated around it."""
    if get_origin(annotation) is Annotated:
        return core(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [argument for argument in get_args(annotation) if argument is not type(None)]
        return core(inner[0]) if len(inner) == 1 else annotation
    return annotation


def type_at(model: type[BaseModel], path: Path) -> Any:
    """Return the type at a path, or None where the models say nothing (free-form fields, unknown ones)."""
    found: Any = model
    for step in path:
        if isinstance(step, int):
            found = core(get_args(found)[0]) if get_origin(found) is list else None
        elif isinstance(found, type) and issubclass(found, BaseModel):
            entry = fields_of(found).get(step)
            found = entry.type if entry else None
        else:
            return None
    return found


def field_at(model: type[BaseModel], path: Path) -> Field | None:
    """Return the field that a path ends in; for a list item, the field of the list."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    holder = type_at(model, path[:-1]) if path else None
    if not isinstance(holder, type) or not issubclass(holder, BaseModel):
        return None
    return fields_of(holder).get(str(path[-1]))


def allowed_at(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    """Return the names of the fields, or the values of the enumeration, that may stand at a path."""
    found = type_at(model, path)
    if get_origin(found) is Literal:
        return tuple(str(value) for value in get_args(found))
    if isinstance(found, type) and issubclass(found, BaseModel):
        return tuple(fields_of(found))
    return ()


def walk(model: type[BaseModel], path: Path = ()) -> Iterator[tuple[Path, Field]]:
    """Yield every field below a model in order, sections before what they hold; list items have index 0."""
    for name, entry in fields_of(model).items():
        here = (*path, name)
        yield here, entry
        if entry.model is not None:
            yield from walk(entry.model, (*here, 0) if entry.is_list else here)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, whatever the case and the separators."""

    def flat(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter.isalnum())

    by_flat = {flat(name): name for name in reversed(list(known))}
    close = difflib.get_close_matches(flat(word), by_flat, n=1, cutoff=0.7)
    return by_flat[close[0]] if close else None

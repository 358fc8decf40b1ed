"""Writing YAML for people: block style, keys in the order given, the same bytes for the same value. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from distillery.api.scalars import written


def dump_yaml(value: Mapping[str, object]) -> str:
    """Return a mapping of JSON values as YAML that `load_yaml` reads back unchanged.

    Raises: TypeError for values that JSON lacks.
    """
    return "".join(f"{line}\n" for line in _mapping(value, "")) if value else "{}\n"


def _mapping(entries: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in entries.items():
        name = f"{indent}{written(str(key))}:"
        if isinstance(value, Mapping) and value:
            yield name
            yield from _mapping(value, indent + "  ")
        elif isinstance(value, list | tuple) and value:
            yield name
            yield from _items(value, indent)
        else:
            yield f"{name} {_leaf(value)}"


def _items(items: Sequence[object], indent: str) -> Iterator[str]:
    inner = indent + "  "
    for item in items:
        if isinstance(item, Mapping) and item:
            lines = _mapping(item, inner)
        elif isinstance(item, list | tuple) and item:
            lines = _items(item, inner)
        else:
            lines = iter((inner + _leaf(item),))
        for number, line in enumerate(lines):
            yield line if number else f"{indent}- {line.removeprefix(inner)}"


def _leaf(value: object) -> str:
    if isinstance(value, Mapping):
        return "{}"
    return "[]" if isinstance(value, list | tuple) else written(value)

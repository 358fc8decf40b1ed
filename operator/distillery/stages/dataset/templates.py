"""The template of plain rows: `{column}` is replaced, doubled braces are literal. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from distillery.errors import Problem, SpecError
from distillery.stages.dataset.columns import ABSENT, Record, lookup, names, text_of
from distillery.stages.dataset.problems import RowError, did_you_mean, listing

FIELD = "spec.dataset.input"
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts and column names in turn; a column is (name, True)."""

    pieces: tuple[tuple[str, bool], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Parse a template. Raises: SpecError for a lone brace, an empty name, or no column at all."""
        pieces: list[tuple[str, bool]] = []
        for match in _PIECE.finditer(text):
            found = match.group()
            if found in ("{{", "}}"):
                pieces.append((found[0], False))
            elif found in ("{", "}"):
                message = f"a lone {found!r} at character {match.start() + 1} of {text!r}"
                raise SpecError(Problem(FIELD, message, "write {column}, and {{ or }} for a brace itself"))
            elif match.group(1) is None:
                pieces.append((found, False))
            else:
                pieces.append((match.group(1).strip(), True))
        template = cls(tuple(pieces))
        if "" in template.columns or not template.columns:
            message = f"{text!r} names no column" if not template.columns else f"{text!r} has an empty {{}}"
            raise SpecError(Problem(FIELD, message, "write the columns to insert, for example {text}"))
        return template

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that rows must have."""
        return tuple(text for text, is_column in self.pieces if is_column)

    def render(self, record: Record) -> str:
        """Return the text of a row; null renders as nothing.

        Raises: RowError naming the column that the row lacks and those that it has.
        """
        parts = []
        for text, is_column in self.pieces:
            if not is_column:
                parts.append(text)
                continue
            value = lookup(record, text)
            if value is ABSENT:
                raise _missing(text, record)
            parts.append(text_of(value))
        return "".join(parts)


def _missing(column: str, record: Record) -> RowError:
    kind = f"no column {column!r}"
    if column != "messages" and isinstance(record.get("messages"), list):
        return RowError(kind, f"{kind}, but `messages`: this looks like a chat file", "set format: chat")
    if isinstance(record.get("prompt"), (str, list)) and "completion" in record:
        message = f"{kind}, but `prompt` and `completion`: this looks like a prompt-completion file"
        return RowError(kind, message, "set format: prompt-completion")
    known = list(names(record))
    repair = f"{did_you_mean(column, known)}the row has: {listing(known) or 'no columns'}"
    return RowError(kind, f"{kind}, which {FIELD} inserts", repair)

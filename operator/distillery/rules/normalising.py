"""One normaliser per output format, used for teacher, student and reference alike."""

from __future__ import annotations

from collections.abc import Callable

from distillery.api.v1alpha1.task import Output
from distillery.rules import json_answers
from distillery.rules.labels import label_index


def normalise(text: str, output: Output) -> str | None:
    """Return the canonical answer that `text` gives, or None if it is no answer of this format.

    label: the label as the task spells it; json: canonical JSON, valid under the schema if there is one;
    text: the text without outer whitespace. A canonical answer is its own normal form.
    """
    return _NORMALISERS[output.format](text, output)


def equal(a: str | None, b: str | None, output: Output) -> bool:
    """Return whether two texts, raw or normalised, give the same answer; what is no answer equals nothing."""
    if a is None or b is None:
        return False
    answer = normalise(a, output)
    return answer is not None and answer == normalise(b, output)


def _label(text: str, output: Output) -> str | None:
    return label_index(tuple(output.labels or ())).find(text)


def _json(text: str, output: Output) -> str | None:
    try:
        value = json_answers.parse(text)
        answer = json_answers.canonical(value)
    except ValueError:
        return None
    if output.schema_ is not None and not json_answers.matches(value, output.schema_):
        return None
    return answer


def _text(text: str, output: Output) -> str | None:
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates cannot be stored
        return None
    return text.strip() or None


_NORMALISERS: dict[str, Callable[[str, Output], str | None]] = {"label": _label, "json": _json, "text": _text}

"""Whether too much was discarded, and what to say about it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from distillery.errors import StageFailed
from distillery.stages.filter.candidates import Decision

NAMED_REASONS = 3
NAMED_SLICES = 5
EXAMPLE_CHARACTERS = 80

REPAIRS: Mapping[str, str] = {
    "empty answer": "check that teacher.parameters.maxTokens leaves room for an answer",
    "not one of the labels": "let task.systemPrompt ask for exactly one of the labels and nothing else",
    "not valid JSON": "let task.systemPrompt ask for JSON and nothing else",
    "does not match the schema": "compare task.output.schema with the example",
    "cut off at the token limit": "raise teacher.parameters.maxTokens or let task.systemPrompt ask for less",
    "length": "raise maxTokens of the length rule or let task.systemPrompt ask for less",
    "refusal": "reword task.systemPrompt, or remove the inputs that the teacher refuses",
    "consistency": "make task.systemPrompt more specific, or lower minAgreement",
}
"""By reason, else by rule."""


def order(row_id: str) -> bytes:
    """Return the row's place in an arbitrary but fixed order that no position in the data influences."""
    return hashlib.sha256(f"review\0{row_id}".encode()).digest()


def check_discards(document: Mapping[str, Any], decisions: Sequence[Decision]) -> None:
    """Stop the job if more than `discard.max` was discarded, or nothing is left to learn from.

    Args:
        document: counts.json.
        decisions: the rows that were counted, for examples.

    Raises: StageFailed(DiscardTooHigh), StageFailed(NothingKept).
    """
    share, maximum = document["discardShare"], document["max"]
    if share > maximum:
        answered = document["kept"] + document["rejected"]
        dropped = [entry for entry in document["rules"] if entry["rule"] != "teacher"]
        message = (
            f"{document['rejected']} of {answered} answers ({share:.1%}) were discarded, more than "
            f"filter.discard.max {maximum:g}. {_reasons(dropped, decisions)}"
        )
        raise StageFailed("DiscardTooHigh", message)
    if not document["splits"].get("train", {}).get("kept"):
        message = f"no training row is left to learn from. {_reasons(document['rules'], decisions)}"
        raise StageFailed("NothingKept", message)


def concerns(document: Mapping[str, Any]) -> list[str]:
    """Return warnings about what was kept, as sentences."""
    found = []
    if not document["withinExpected"]:
        low, high = document["expected"]
        found.append(
            f"{document['discardShare']:.1%} of the answers were discarded, outside filter.discard.expected "
            f"[{low:g}, {high:g}]"
        )
    empty = [name for name, group in document["slices"].items() if group["asked"] and not group["kept"]]
    if empty:
        found.append(f"no row is kept of {_some('slice', empty)}")
    unused = [label for label, rows in document["answers"].items() if not rows]
    if unused:
        found.append(f"no kept training row is answered with {_some('label', unused)}")
    return found


def _some(noun: str, names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:NAMED_SLICES])
    rest = f" and {len(names) - NAMED_SLICES} more" if len(names) > NAMED_SLICES else ""
    return f"{noun}{'s' if len(names) > 1 else ''} {listed}{rest}"


def _reasons(entries: Sequence[Mapping[str, Any]], decisions: Sequence[Decision]) -> str:
    """Say the most frequent reasons, each with an example and a repair."""
    sentences = []
    for entry in entries[:NAMED_REASONS]:
        rule, reason = entry["rule"], entry["reason"]
        rows = "1 row" if entry["rows"] == 1 else f"{entry['rows']} rows"
        matching = [one for one in decisions if one.rule == rule and one.reason == reason]
        example = min(matching, key=lambda one: order(one.candidate.row_id)).candidate
        said = "" if example.failure is not None else f" was answered {_shorten(example.judged.text)}"
        sentence = f"{rule}: {reason}, {rows}; for example row {example.row_id!r}{said}"
        repair = REPAIRS.get(reason) or REPAIRS.get(rule)
        sentences.append(f"{sentence} → {repair}." if repair else f"{sentence}.")
    return " ".join(sentences)


def _shorten(text: str | None) -> str:
    text = text or ""
    return repr(text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…")

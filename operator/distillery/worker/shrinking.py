"""A report as text of bounded size: less and less prose, never less than identity, digests and cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distillery.planning.reports import MAX_REPORT_BYTES
from distillery.stages.report import Outcome, Report

CUT = "…"


@dataclass(frozen=True, slots=True)
class Level:
    """How much of a report is kept: characters per text, warnings, and entries of a list or mapping in a summary."""

    text: int
    warnings: int
    entries: int


LEVELS = (
    Level(1500, 20, 64),
    Level(800, 10, 48),
    Level(400, 6, 32),
    Level(200, 3, 20),
    Level(80, 1, 8),
    Level(40, 0, 0),
)


def report_text(report: Report, limit: int = MAX_REPORT_BYTES) -> str:
    """Return the JSON of a report in at most `limit` bytes, shortened as little as needed.

    Raises: ValueError if even the shortest form is larger, which names and digests of ordinary length never are.
    """
    text = _dump(report)
    for level in LEVELS:
        if len(text.encode()) <= limit:
            return text
        text = _dump(_shorten(report, level))
    if len(text.encode()) > limit:
        raise ValueError(f"a report of {len(text.encode())} bytes cannot be shortened to {limit}")
    return text


def _dump(report: Report) -> str:
    return report.model_dump_json(by_alias=True, exclude_none=True)


def _shorten(report: Report, level: Level) -> Report:
    progress, failure = report.progress, report.failure
    changes = {
        "progress": progress.model_copy(
            update={"message": _cut(progress.message, level.text), "unit": _cut(progress.unit, level.text)}
        ),
        "failure": failure
        and failure.model_copy(
            update={"reason": _cut(failure.reason, 100), "message": _cut(failure.message, level.text)}
        ),
        "warnings": [_cut(text, level.text) for text in report.warnings[: level.warnings]],
        "result": report.result and _shorten_outcome(report.result, level),
        "reusable": [_shorten_outcome(outcome, level) for outcome in report.reusable],
    }
    return report.model_copy(update=changes)


def _shorten_outcome(outcome: Outcome, level: Level) -> Outcome:
    return outcome.model_copy(update={"summary": _shorten_value(outcome.summary, level)})


def _shorten_value(value: Any, level: Level) -> Any:
    match value:
        case str():
            return _cut(value, level.text)
        case list():
            return [_shorten_value(item, level) for item in _foremost(value, level.entries)]
        case dict():
            kept = list(value.items())[: level.entries]
            return {_cut(key, level.text): _shorten_value(item, level) for key, item in kept}
        case _:
            return value


def _foremost(items: Sequence[Any], most: int) -> list[Any]:
    """Return `most` items in their order; of gates those that did not pass go before the others."""
    ranked = sorted(range(len(items)), key=lambda i: (_passed(items[i]), i))[:most]
    return [items[index] for index in sorted(ranked)]


def _passed(item: Any) -> bool:
    return isinstance(item, dict) and item.get("result") == "passed"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + CUT

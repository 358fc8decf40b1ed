"""Keeps the report of one attempt and hands it to a sink: throttled progress, and every change of state at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillery.stages.report import Outcome, Progress, Report

Sink = Callable[[Report], None]


class Reporter:
    """Owns the latest report. Progress reaches the sink at most every `interval` seconds."""

    def __init__(self, first: Report, sink: Sink, now: Callable[[], float], interval: float) -> None:
        self.report = first
        self._sink = sink
        self._now = now
        self._interval = interval
        self._sent_at = float("-inf")

    def update(self, **changes: Any) -> Report:
        """Change fields and send the report."""
        self.report = self.report.model_copy(
            update={**changes, "sequence": self.report.sequence + 1, "at": self._now()}
        )
        self._sent_at = self._now()
        self._sink(self.report)
        return self.report

    def progress(self, progress: Progress) -> None:
        """Note progress; sent only if the last report is old enough."""
        if self._now() - self._sent_at >= self._interval:
            self.update(progress=progress)
        else:
            self.report = self.report.model_copy(update={"progress": progress})

    def warn(self, text: str) -> None:
        """Add a warning once; at most 20 are kept."""
        if text not in self.report.warnings and len(self.report.warnings) < 20:
            self.update(warnings=[*self.report.warnings, text])


def without_secrets(report: Report, hide: Callable[[str], str]) -> Report:
    """Take secret values out of every text that may come from outside, such as a server's error message.

    Digests and names stay as they are: a short value may occur in them by chance.
    """

    def clean(value: Any) -> Any:
        match value:
            case str():
                return hide(value)
            case list():
                return [clean(item) for item in value]
            case dict():
                return {key: clean(item) for key, item in value.items()}
            case _:
                return value

    def clean_outcome(outcome: Outcome) -> Outcome:
        return outcome.model_copy(update={"summary": clean(outcome.summary)})

    failure = report.failure
    changes = {
        "progress": report.progress.model_copy(update={"message": hide(report.progress.message)}),
        "failure": failure and failure.model_copy(update={"message": hide(failure.message)}),
        "result": report.result and clean_outcome(report.result),
        "reusable": [clean_outcome(outcome) for outcome in report.reusable],
        "warnings": clean(report.warnings),
    }
    return report.model_copy(update=changes)

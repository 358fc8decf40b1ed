"""Keeps the report of one attempt and hands it to a sink: throttled progress, and every change of state at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillery.stages.report import Progress, Report

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

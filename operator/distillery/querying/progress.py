"""Counts what a round has done, and tells it: progress outwards, a stop request inwards."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from distillery.querying.answers import AskProgress, OnProgress, StopRequested

REPORT_SECONDS = 0.5
"""Often enough for a person who watches, seldom enough to cost nothing."""
RATE_REPORTS = 20
"""The rate is that of the last reports: ten seconds."""


@dataclass(slots=True)
class ProgressTracker:
    """Progress of one ask. `cached` of its `total` questions needed no call."""

    total: int
    cached: int
    on_progress: OnProgress | None = None
    stop_requested: StopRequested | None = None
    answered: int = 0
    failed: int = 0
    _history: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RATE_REPORTS))
    _reported: float = float("-inf")

    def done(self, *, failed: bool) -> None:
        """Count one question that was bought, or left."""
        if failed:
            self.failed += 1
        else:
            self.answered += 1

    def look(self, in_flight: int, spent_micro: int, *, last: bool = False) -> bool:
        """Report if it is time to; return whether a stop was requested."""
        now = time.monotonic()
        if self.on_progress is not None and (last or now - self._reported >= REPORT_SECONDS):
            self._reported = now
            self.on_progress(self._progress(now, in_flight, spent_micro))
        return self.stop_requested is not None and self.stop_requested()

    def _progress(self, now: float, in_flight: int, spent_micro: int) -> AskProgress:
        bought = self.answered + self.failed
        self._history.append((now, bought))
        since, before = self._history[0]
        return AskProgress(
            done=self.cached + bought,
            total=self.total,
            cached=self.cached,
            failed=self.failed,
            in_flight=in_flight,
            rate=(bought - before) / (now - since) if now > since else 0.0,
            spent_micro=spent_micro,
        )

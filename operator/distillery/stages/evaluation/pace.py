"""Progress through the phases of an evaluation, as one count of rows."""

from __future__ import annotations

from collections.abc import Callable

from distillery.stages import report
from distillery.stages.context import StageContext


class Pace:
    """Counts rows over all phases; every report is also a point at which the stage can be stopped."""

    def __init__(self, context: StageContext, total: int) -> None:
        self._context = context
        self._total = total
        self._before = 0

    def phase(self, message: str, rows: int) -> Callable[[int], None]:
        """Begin a phase over `rows` rows and return what it calls with the rows done."""
        start = self._before
        self._before += rows

        def done(count: int) -> None:
            self._context.check_stop()
            self._context.progress(report.Progress(done=start + count, total=self._total, message=message))

        done(0)
        return done

"""Progress through the phases of an evaluation, as one count of rows."""

from __future__ import annotations

from collections.abc import Callable

from distillery.stages import report
from distillery.stages.context import StageContext

OnDone = Callable[[int], None]


class Pace:
    """Counts rows over all phases."""

    def __init__(self, context: StageContext, total: int) -> None:
        self._context = context
        self._total = total
        self._before = 0

    def phase(self, message: str, rows: int) -> OnDone:
        """Begin a phase over `rows` rows and return what it calls with the rows done."""
        start = self._before
        self._before += rows

        def done(count: int) -> None:
            self._context.progress(report.Progress(done=start + count, total=self._total, message=message))

        done(0)
        return done

    def stoppable_phase(self, message: str, rows: int) -> OnDone:
        """Like `phase`; each call may raise StageStopped. Not for the teacher, whose engine stops by itself."""
        reported = self.phase(message, rows)

        def done(count: int) -> None:
            self._context.check_stop()
            reported(count)

        return done

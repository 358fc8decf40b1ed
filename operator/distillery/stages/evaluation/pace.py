"""Progress through the phases of an evaluation, as one count of rows."""

from __future__ import annotations

from collections.abc import Callable

from distillery.querying import AskProgress
from distillery.stages import report
from distillery.stages.context import StageContext

OnDone = Callable[[int], None]
OnAsked = Callable[[AskProgress], None]


class Pace:
    """Counts rows over all phases. What the teacher was paid stays in the report while the student answers."""

    def __init__(self, context: StageContext, total: int) -> None:
        self._context = context
        self._total = total
        self._before = 0
        self._spent_micro = 0

    def phase(self, message: str, rows: int) -> OnDone:
        """Begin a phase over `rows` rows and return what it calls with the rows done."""
        start = self._before
        self._before += rows

        def done(count: int) -> None:
            self._tell(start + count, message)

        done(0)
        return done

    def asking_phase(self, message: str, rows: int) -> OnAsked:
        """Like `phase`, for the engine, which also says how fast it is and what was spent."""
        start = self._before
        self.phase(message, rows)

        def asked(now: AskProgress) -> None:
            self._spent_micro = now.spent_micro
            left = (now.total - now.done) / now.rate if now.rate > 0 else None
            self._tell(start + now.done, message, now.rate, left)

        return asked

    def stoppable_phase(self, message: str, rows: int) -> OnDone:
        """Like `phase`; each call may raise StageStopped. Not for the teacher, whose engine stops by itself."""
        reported = self.phase(message, rows)

        def done(count: int) -> None:
            self._context.check_stop()
            reported(count)

        return done

    def _tell(
        self, done: int, message: str, rate: float | None = None, remaining_seconds: float | None = None
    ) -> None:
        """Report; the time left is that of the phase."""
        self._context.progress(
            report.Progress(
                done=done,
                total=self._total,
                message=message,
                rate=None if rate is None else round(rate, 2),
                remaining_seconds=None if remaining_seconds is None else round(remaining_seconds, 1),
                spent_micro=self._spent_micro,
            )
        )

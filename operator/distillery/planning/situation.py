"""What the policies look at: plan, frontier, facts and clock, and what follows from them at once."""

from __future__ import annotations

from dataclasses import dataclass

from distillery.api.v1alpha1.conditions import Reason
from distillery.planning.decision import Cancel, Decision, Finish, Wait
from distillery.planning.failures import failure_of
from distillery.planning.frontier import Frontier
from distillery.planning.observed import Attempt, Observed
from distillery.planning.plan import Plan
from distillery.stages.report import Failure


@dataclass(frozen=True, slots=True)
class Situation:
    """What every check may look at. `now` is in seconds since the epoch."""

    plan: Plan
    frontier: Frontier
    observed: Observed
    now: float

    @property
    def live(self) -> tuple[Attempt, ...]:
        """Attempts of any stage that may still be running."""
        return tuple(attempt for attempt in self.observed.attempts if attempt.live)

    @property
    def failures(self) -> tuple[tuple[Attempt, Failure], ...]:
        """Ended attempts on what is next that count, with why they failed; a requested stop is no failure."""
        if self.frontier.run is None:
            return ()
        counted = []
        for attempt in self.observed.attempts_of(self.frontier.run.stage):
            if attempt.live or not attempt.created or self._forgiven(attempt):
                continue
            failure = failure_of(attempt)
            if failure is not None:
                counted.append((attempt, failure))
        return tuple(counted)

    @property
    def max_cost_micro(self) -> int | None:
        """The budget in micro-units."""
        limit = self.plan.budget.max_cost
        return None if limit is None else int(limit * 1_000_000)

    @property
    def deadline(self) -> float | None:
        """When `activeDeadlineSeconds` are over; None without them or before the first attempt."""
        if self.plan.deadline_seconds is None:
            return None
        begun = self.observed.generation_since
        if begun is None:
            begun = min((attempt.started_at for attempt in self.observed.attempts), default=None)
        if begun is None:
            return None
        return max(begun, self.observed.control.restarted_at) + self.plan.deadline_seconds

    def stop(self, attempt: Attempt, reason: str, message: str) -> Decision:
        """Ask a live attempt to stop, once; then wait for it. One that has said its last word ends by itself."""
        name = f"{attempt.stage} attempt {attempt.number}"
        if attempt.stop_requested:
            waiting = Reason.SUSPENDED if reason == Reason.SUSPENDED else Reason.STOPPING
            return Wait(waiting, f"waiting for {name} to stop: {message}")
        return self.cleaning_up(attempt) or Cancel(attempt, reason, message)

    def cleaning_up(self, attempt: Attempt) -> Wait | None:
        """Wait for what is left of an attempt that has said its last word."""
        if attempt.report is None or attempt.report.state == "running":
            return None
        return Wait(
            Reason.CLEANING_UP,
            f"waiting for the Ray cluster of {attempt.stage} attempt {attempt.number} to be gone",
        )

    def end(self, finish: Finish) -> Decision:
        """Stop what is live, then finish."""
        for attempt in self.live:
            return self.stop(attempt, finish.reason, finish.message)
        return finish

    def _forgiven(self, attempt: Attempt) -> bool:
        """Say whether an attempt is none of this question: other work, another spec, or someone asked to retry."""
        generation = self.observed.generation
        older = generation is not None and attempt.generation is not None and attempt.generation < generation
        return (
            older or attempt.started_at < self.observed.forgiven_before or not self.frontier.covers(attempt)
        )

"""Where a job stands: the outcomes that hold for its plan, and the first stage without one."""

from __future__ import annotations

from dataclasses import dataclass

from distillery.artifacts.manifest import Parent
from distillery.planning.observed import Attempt, Observed
from distillery.planning.plan import Plan
from distillery.stages.identity import stage_identity
from distillery.stages.report import Outcome
from distillery.stages.stage import StageRun


@dataclass(frozen=True, slots=True)
class Frontier:
    """`done` are the plan's committed stages in order; `run` is the next one, or None when all are committed.

    `identity` is the next stage's, or None while its sources are not pinned.
    """

    done: tuple[Outcome, ...]
    run: StageRun | None
    identity: str | None
    storage: str | None = None

    def covers(self, attempt: Attempt) -> bool:
        """Say whether an attempt works on exactly what is next."""
        return (
            self.run is not None
            and attempt.stage == self.run.stage
            and attempt.recipe == self.run.recipe
            and attempt.storage in (None, self.storage)
            and (self.identity is None or attempt.identity in (None, self.identity))
        )

    def submission(self) -> StageRun:
        """Return the next run with the committed artifacts it may read."""
        assert self.run is not None
        parents = [
            Parent(stage=outcome.stage, identity=outcome.identity, output_digest=outcome.output_digest)
            for outcome in self.done
        ]
        return self.run.model_copy(update={"parents": parents})


def frontier_of(plan: Plan, observed: Observed) -> Frontier:
    """Follow the plan from the first stage as far as committed outcomes reach."""
    outputs: dict[str, str] = {}
    done: list[Outcome] = []
    for run in plan.runs:
        identity = stage_identity(run.recipe, run.consumes, outputs, observed.sources.get(run.recipe))
        outcome = observed.outcomes.get(identity) if identity else None
        if outcome is None:
            return Frontier(tuple(done), run, identity, plan.storage_uri)
        outputs[run.stage] = outcome.output_digest
        done.append(outcome)
    return Frontier(tuple(done), None, None)

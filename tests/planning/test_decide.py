"""Whatever happens between two looks, a job ends, no stage runs twice at once and none is lost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import make_outcome, make_plan, make_report
from distillery.planning.decide import decide
from distillery.planning.decision import Cancel, Decision, Finish, Submit, Wait
from distillery.planning.failures import MAX_INFRASTRUCTURE_FAILURES
from distillery.planning.frontier import frontier_of
from distillery.planning.observed import Attempt, Observed
from distillery.planning.plan import Plan
from distillery.stages.identity import identity_of, stage_identity
from distillery.stages.report import Failure, Outcome

INFRASTRUCTURE = Failure(failure_class="infrastructure", reason="Transient", message="503")
USER = Failure(failure_class="user", reason="TooManyFailed", message="too many rows failed")
PINNED = {"dataset-0": "sources"}


def done_until(plan: Plan, last: str | None, **summary: object) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    outputs: dict[str, str] = {}
    for run in plan.runs:
        if last is None:
            return outcomes
        identity = stage_identity(run.recipe, run.consumes, outputs, "sources")
        assert identity is not None
        outcome = make_outcome(run.stage, identity, **(summary if run.stage == "evaluation" else {}))
        outcomes[identity] = outcome
        outputs[run.stage] = outcome.output_digest
        if run.stage == last:
            return outcomes
    return outcomes


def attempt_of(plan: Plan, observed: Observed, number: int = 1, **changes: object) -> Attempt:
    frontier = frontier_of(plan, observed)
    assert frontier.run is not None
    attempt = Attempt(frontier.run.stage, number, frontier.run.recipe, frontier.identity, 0.0, live=False)
    return replace(attempt, **changes)


def failed(plan: Plan, observed: Observed, number: int, failure: Failure) -> Attempt:
    attempt = attempt_of(plan, observed, number, ended_at=float(number))
    report = make_report(attempt.stage, attempt.recipe, number, state="failed", failure=failure)
    return replace(attempt, report=report)


def test_a_new_job_starts_with_its_dataset() -> None:
    plan = make_plan()
    assert decide(plan, Observed(), 0.0) == Submit(plan.runs[0], None, 1)


def test_a_stage_is_submitted_with_every_committed_artifact_before_it() -> None:
    plan = make_plan()
    observed = Observed(outcomes=done_until(plan, "filter"), sources=PINNED)
    decision = decide(plan, observed, 0.0)
    assert isinstance(decision, Submit)
    assert decision.run.stage == "student"
    assert [parent.stage for parent in decision.run.parents] == ["dataset", "teacher", "filter"]
    assert decision.identity == identity_of("student-0", {"filter": decision.run.parents[2].output_digest})


def test_a_live_attempt_is_waited_for() -> None:
    plan = make_plan()
    observed = Observed(attempts=(attempt_of(plan, Observed(), live=True),))
    assert isinstance(decide(plan, observed, 0.0), Wait)


def test_an_edit_that_changes_the_running_stage_cancels_it_once() -> None:
    before, after = make_plan(), make_plan({"teacher": 1})
    facts = Observed(outcomes=done_until(before, "dataset"), sources=PINNED)
    live = attempt_of(before, facts, live=True)
    decision = decide(after, replace(facts, attempts=(live,)), 0.0)
    assert isinstance(decision, Cancel)
    assert decision.attempt == live
    asked = replace(facts, attempts=(replace(live, stop_requested=True),))
    assert isinstance(decide(after, asked, 0.0), Wait)


def test_an_edit_of_a_later_stage_lets_the_running_one_go_on() -> None:
    before, after = make_plan(), make_plan({"evaluation": 1})
    facts = Observed(outcomes=done_until(before, "dataset"), sources=PINNED)
    live = attempt_of(before, facts, live=True)
    assert isinstance(decide(after, replace(facts, attempts=(live,)), 0.0), Wait)


@pytest.mark.parametrize(
    ("verdict", "ending"),
    [("passed", "complete"), ("failed", "gatesFailed"), ("undecided", "gatesFailed"), (None, "gatesFailed")],
)
def test_the_verdict_is_the_end(verdict: str | None, ending: str) -> None:
    plan = make_plan()
    observed = Observed(outcomes=done_until(plan, "evaluation", verdict=verdict), sources=PINNED)
    decision = decide(plan, observed, 0.0)
    assert isinstance(decision, Finish)
    assert decision.ending == ending


def test_a_user_error_is_not_retried_until_somebody_asks() -> None:
    plan = make_plan()
    facts = Observed(outcomes=done_until(plan, "dataset"), sources=PINNED)
    observed = replace(facts, attempts=(failed(plan, facts, 1, USER),))
    assert decide(plan, observed, 9.0) == Finish("failed", "TooManyFailed", "teacher: too many rows failed")
    again = decide(plan, replace(observed, forgiven_before=5.0), 9.0)
    assert isinstance(again, Submit)
    assert again.attempt == 2


def test_infrastructure_failures_are_retried_with_pauses_and_an_end() -> None:
    plan = make_plan()
    facts = Observed(outcomes=done_until(plan, "dataset"), sources=PINNED)
    two = replace(facts, attempts=tuple(failed(plan, facts, n, INFRASTRUCTURE) for n in (1, 2)))
    waiting = decide(plan, two, 3.5)
    assert isinstance(waiting, Wait)
    assert waiting.until == 4.0
    assert isinstance(decide(plan, two, 4.0), Submit)
    many = [failed(plan, facts, n, INFRASTRUCTURE) for n in range(1, MAX_INFRASTRUCTURE_FAILURES + 1)]
    assert isinstance(decide(plan, replace(facts, attempts=tuple(many)), 1e6), Finish)


def test_success_without_an_artifact_is_an_infrastructure_failure() -> None:
    plan = make_plan()
    facts = Observed(outcomes=done_until(plan, "dataset"), sources=PINNED)
    attempt = attempt_of(plan, facts, ended_at=1.0)
    report = make_report(attempt.stage, attempt.recipe, 1, state="succeeded")
    decision = decide(plan, replace(facts, attempts=(replace(attempt, report=report),)), 100.0)
    assert isinstance(decision, Submit)
    assert decision.attempt == 2


@dataclass
class World:
    """A cluster reduced to what decisions see: attempts that live, die or commit, and a store."""

    plan: Plan = field(default_factory=make_plan)
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    clock: float = 0.0

    def observe(self) -> Observed:
        return Observed(tuple(self.attempts.values()), dict(self.outcomes), dict(self.sources))

    def act(self, decision: Decision) -> None:
        match decision:
            case Submit():
                key = (decision.run.stage, decision.attempt)
                if key not in self.attempts:  # the name is taken: AlreadyExists
                    self.attempts[key] = Attempt(
                        decision.run.stage,
                        decision.attempt,
                        decision.run.recipe,
                        decision.identity,
                        self.clock,
                        live=True,
                    )
            case Cancel():
                key = (decision.attempt.stage, decision.attempt.number)
                self.attempts[key] = replace(self.attempts[key], stop_requested=True)
            case Wait() | Finish():
                pass
        live = [a for a in self.attempts.values() if a.live]
        assert len(live) <= 1, "two attempts live at once"

    def commit(self) -> None:
        """The live attempt finishes well and its artifact appears."""
        for key, attempt in self.attempts.items():
            if not attempt.live:
                continue
            run = self.plan.run(attempt.stage)
            if not run.consumes:
                self.sources[attempt.recipe] = "sources"
            identity = attempt.identity or identity_of(attempt.recipe, {"sources": "sources"})
            outcome = self.outcomes.get(identity)  # the store lets nobody commit an identity twice: adopt it
            if outcome is None:
                outcome = make_outcome(attempt.stage, identity, verdict="passed")
                self.outcomes[identity] = outcome
            report = make_report(
                attempt.stage, attempt.recipe, attempt.number, state="succeeded", result=outcome
            )
            self.attempts[key] = replace(attempt, live=False, report=report, ended_at=self.clock)

    def die(self, failure: Failure | None) -> None:
        """The live attempt ends without an artifact: it failed, stopped on request, or vanished."""
        for key, attempt in self.attempts.items():
            if attempt.live:
                fields: dict[str, object] = {"state": "stopped"} if attempt.stop_requested else {}
                if failure is not None and not attempt.stop_requested:
                    fields = {"state": "failed", "failure": failure}
                report = make_report(attempt.stage, attempt.recipe, attempt.number, **fields)
                self.attempts[key] = replace(attempt, live=False, report=report, ended_at=self.clock)


events = st.lists(
    st.sampled_from(
        ["commit", "vanish", "fail", "edit-teacher", "edit-student", "edit-filter", "stale", "look"]
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(events)
def test_any_history_ends_with_every_stage_committed_once_per_identity(history: list[str]) -> None:
    world = World()
    edits: dict[str, int] = {}
    earlier = world.observe()
    troubles = 0
    for event in history:
        world.clock += 100.0
        match event:
            case "commit":
                world.commit()
            case "vanish" | "fail":
                if troubles < MAX_INFRASTRUCTURE_FAILURES - 1:
                    troubles += 1
                    world.die(INFRASTRUCTURE if event == "fail" else None)
            case "stale":  # an old look at reports and store, a fresh one at the record of attempts
                observed = replace(earlier, attempts=tuple(world.attempts.values()))
                world.act(decide(world.plan, observed, world.clock))
            case "look":
                earlier = world.observe()
                world.act(decide(world.plan, earlier, world.clock))
            case _:
                stage = event.removeprefix("edit-")
                edits[stage] = edits.get(stage, 0) + 1
                world.plan = make_plan(edits)  # type: ignore[arg-type]
        world.act(decide(world.plan, world.observe(), world.clock))
    for _ in range(40):  # from now on nothing goes wrong: the job must end
        world.clock += 100.0
        decision = decide(world.plan, world.observe(), world.clock)
        if isinstance(decision, Finish):
            break
        world.act(decision)
        if isinstance(decision, Wait | Cancel) and any(
            a.stop_requested and a.live for a in world.attempts.values()
        ):
            world.die(None)
        else:
            world.commit()
    assert decide(world.plan, world.observe(), world.clock) == Finish(
        "complete", "GatesPassed", "every gate has passed"
    )
    assert len(frontier_of(world.plan, world.observe()).done) == 5
    assert len(world.attempts) <= 5 * (len(history) + 2), "attempts were started without end"


@settings(max_examples=100)
@given(st.permutations(range(4)), st.integers(0, 3))
def test_the_order_and_repetition_of_attempts_does_not_matter(order: list[int], repeated: int) -> None:
    plan = make_plan()
    facts = Observed(outcomes=done_until(plan, "dataset"), sources=PINNED)
    attempts = [failed(plan, facts, n, INFRASTRUCTURE) for n in (1, 2, 3, 4)]
    straight = decide(plan, replace(facts, attempts=tuple(attempts)), 1000.0)
    shuffled = decide(plan, replace(facts, attempts=tuple(attempts[i] for i in order)), 1000.0)
    assert straight == shuffled

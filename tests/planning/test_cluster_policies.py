"""On a cluster: what people ask for, deadlines, budgets and watchdogs stop what runs before they end the job."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from builders import make_outcome, make_plan, make_report
from distillery.api.v1alpha1.distillation_job import Budget
from distillery.planning.control import Control
from distillery.planning.decide import decide
from distillery.planning.decision import Cancel, Decision, Finish, Submit, Wait
from distillery.planning.observed import Attempt, Observed, Patience
from distillery.planning.plan import Plan
from distillery.stages.identity import stage_identity
from distillery.stages.report import Failure, Outcome

PLAN = make_plan()
LIVE = Attempt(
    "dataset", 1, "dataset-0", None, 10.0, live=True, generation=1, heard_at=10.0, pending_since=10.0
)
PREEMPTED = Failure(failure_class="preemption", reason="Preempted", message="by a batch job")


def with_budget(**fields: object) -> Plan:
    return replace(PLAN, budget=Budget.model_validate(fields))


def judged(attempt: Attempt | None, plan: Plan = PLAN, now: float = 100.0, **facts: object) -> Decision:
    return decide(plan, replace(Observed((attempt,) if attempt else (), generation=1), **facts), now)


def told_to_stop(attempt: Attempt, reason: str) -> Attempt:
    return replace(attempt, stop_requested=True, stop_reason=reason)


def test_suspension_stops_what_runs_then_waits_then_goes_on_with_a_new_attempt() -> None:
    suspended = Control(suspended=True)
    stop = judged(LIVE, control=suspended)
    assert isinstance(stop, Cancel)
    assert stop.reason == "Suspended"
    stopping = told_to_stop(LIVE, "Suspended")
    assert isinstance(judged(stopping, control=suspended), Wait)
    gone = replace(stopping, live=False, ended_at=50.0)
    waiting = judged(gone, control=suspended)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "Suspended"
    resumed = judged(gone)
    assert isinstance(resumed, Submit)
    assert resumed.attempt == 2


def test_cancellation_stops_what_runs_and_ends_the_job() -> None:
    cancelled = Control(cancelled=True)
    assert isinstance(judged(LIVE, control=cancelled), Cancel)
    end = judged(replace(told_to_stop(LIVE, "Cancelled"), live=False), control=cancelled)
    assert isinstance(end, Finish)
    assert (end.ending, end.reason) == ("cancelled", "Cancelled")


def test_a_finished_job_cannot_be_cancelled_any_more() -> None:
    outcomes: dict[str, Outcome] = {}
    outputs: dict[str, str] = {}
    for run in PLAN.runs:
        identity = stage_identity(run.recipe, run.consumes, outputs, "pinned")
        assert identity is not None
        outcomes[identity] = make_outcome(run.stage, identity, verdict="passed")
        outputs[run.stage] = outcomes[identity].output_digest
    end = judged(None, outcomes=outcomes, sources={"dataset-0": "pinned"}, control=Control(cancelled=True))
    assert isinstance(end, Finish)
    assert end.ending == "complete"


def test_the_deadline_counts_from_the_first_attempt_of_this_generation() -> None:
    plan = replace(PLAN, deadline_seconds=60)
    waiting = judged(LIVE, plan, now=69.0)
    assert isinstance(waiting, Wait)
    assert waiting.until == 70.0
    stop = judged(LIVE, plan, now=70.0)
    assert isinstance(stop, Cancel)
    assert stop.reason == "DeadlineExceeded"
    end = judged(replace(told_to_stop(LIVE, stop.reason), live=False), plan, now=71.0)
    assert isinstance(end, Finish)
    assert (end.ending, end.reason) == ("failed", "DeadlineExceeded")


def test_the_deadline_of_an_edit_reaches_what_runs() -> None:
    plan = replace(PLAN, deadline_seconds=60, generation=2)
    assert isinstance(judged(LIVE, plan, now=159.0, generation=2, generation_since=100.0), Wait)
    assert isinstance(judged(LIVE, plan, now=160.0, generation=2, generation_since=100.0), Cancel)


def test_a_suspended_job_does_not_miss_its_deadline() -> None:
    plan = replace(PLAN, deadline_seconds=60)
    idle = replace(told_to_stop(LIVE, "Suspended"), live=False)
    waiting = judged(idle, plan, now=1e6, control=Control(suspended=True))
    assert isinstance(waiting, Wait)
    assert waiting.reason == "Suspended"


def test_the_reason_of_an_end_outlives_the_deadline() -> None:
    plan = replace(PLAN, deadline_seconds=60)
    failure = Failure(failure_class="user", reason="TeacherRefused", message="401")
    report = make_report("dataset", "dataset-0", 1, state="failed", failure=failure)
    end = judged(replace(LIVE, live=False, report=report, ended_at=20.0), plan, now=1e6)
    assert isinstance(end, Finish)
    assert end.reason == "TeacherRefused"


def test_an_attempt_that_has_said_its_last_word_is_not_told_to_stop() -> None:
    failure = Failure(failure_class="user", reason="TeacherRefused", message="401")
    report = make_report("dataset", "dataset-0", 1, state="failed", failure=failure)
    waiting = judged(replace(LIVE, report=report), control=Control(suspended=True))
    assert isinstance(waiting, Wait)
    assert waiting.reason == "CleaningUp"


def test_a_job_that_stops_for_a_suspension_says_so_until_it_is_suspended() -> None:
    for attempt in (LIVE, told_to_stop(LIVE, "Suspended")):
        decision = judged(attempt, control=Control(suspended=True))
        assert isinstance(decision, Cancel | Wait)
        assert decision.reason == "Suspended"


def test_a_resume_starts_the_deadline_anew() -> None:
    plan = replace(PLAN, deadline_seconds=60)
    assert isinstance(judged(LIVE, plan, now=100.0, control=Control(restarted_at=90.0)), Wait)


def test_gpu_hours_are_a_budget() -> None:
    plan = with_budget(maxGPUHours=1)
    assert isinstance(judged(LIVE, plan, gpu_seconds=3599.0), Wait)
    assert isinstance(judged(LIVE, plan, gpu_seconds=3600.0), Cancel)
    end = judged(replace(told_to_stop(LIVE, "GPUHoursReached"), live=False), plan, gpu_seconds=3600.0)
    assert isinstance(end, Finish)
    assert (end.ending, end.reason) == ("budget", "GPUHoursReached")


@pytest.mark.parametrize(
    ("began_with", "stops"), [(None, True), (5_000_000, True), (2_000_000, False), (1_000_000, False)]
)
def test_a_lowered_budget_applies_at_once(began_with: int | None, stops: bool) -> None:
    decision = judged(replace(LIVE, max_cost_micro=began_with), with_budget(maxCost=Decimal(2)))
    assert isinstance(decision, Cancel) is stops
    if stops:
        again = judged(
            replace(told_to_stop(LIVE, "BudgetLowered"), live=False), with_budget(maxCost=Decimal(2))
        )
        assert isinstance(again, Submit)


PATIENCE = Patience(heartbeat=30.0, pending=60.0)
TALKING = replace(LIVE, report=make_report("dataset", "dataset-0", 1))


@pytest.mark.parametrize(
    ("attempt", "now", "reason"),
    [
        (TALKING, 40.0, None),
        (TALKING, 40.5, "HeartbeatLost"),
        (replace(LIVE, heard_at=None), 70.0, None),
        (replace(LIVE, heard_at=None), 70.5, "PendingTooLong"),
        (replace(LIVE, heard_at=None, pending_since=None), 1e9, None),
        (told_to_stop(TALKING, "Suspended"), 1e9, None),
    ],
)
def test_a_silent_attempt_is_stopped(attempt: Attempt, now: float, reason: str | None) -> None:
    decision = judged(attempt, now=now, patience=PATIENCE)
    assert (decision.reason if isinstance(decision, Cancel) else None) == reason


def test_a_watchdog_counts_as_a_failure_and_a_request_does_not() -> None:
    for reason, expected in (("HeartbeatLost", Wait), ("Superseded", Submit)):
        gone = replace(told_to_stop(TALKING, reason), live=False, ended_at=100.0)
        second = replace(gone, number=2)
        assert isinstance(decide(PLAN, Observed((gone, second)), 100.5), expected)


def test_why_pods_do_not_run_is_told() -> None:
    waiting = judged(replace(LIVE, trouble="pod head: Unschedulable: 0/1 nodes are available"))
    assert waiting == Wait(
        "WaitingForPods", "dataset attempt 1: pod head: Unschedulable: 0/1 nodes are available"
    )


def test_preemptions_are_counted_apart_and_higher() -> None:
    def after(count: int) -> Decision:
        attempts = tuple(
            replace(LIVE, number=n, live=False, ended_at=1.0, failure=PREEMPTED) for n in range(1, count + 1)
        )
        return decide(PLAN, Observed(attempts), 1000.0)

    assert isinstance(after(19), Submit)
    assert isinstance(after(20), Finish)


def test_an_edit_gives_a_failed_stage_another_try() -> None:
    failure = Failure(failure_class="budget", reason="BudgetReached", message="spent")
    broke = replace(
        LIVE, live=False, ended_at=1.0, report=make_report("dataset", "dataset-0", 1, failure=failure)
    )
    assert isinstance(decide(PLAN, Observed((broke,), generation=1), 100.0), Finish)
    assert isinstance(decide(PLAN, Observed((broke,), generation=2), 100.0), Submit)


def test_an_attempt_that_a_crash_left_uncreated_is_created_under_its_own_number() -> None:
    recorded = replace(LIVE, live=False, created=False)
    decision = judged(recorded)
    assert isinstance(decision, Submit)
    assert decision.attempt == 1
    assert isinstance(judged(replace(recorded, recipe="dataset-9")), Submit)


def test_a_required_review_is_waited_for_until_this_artifact_is_approved() -> None:
    plan = replace(PLAN, review_required=True)
    outcomes: dict[str, Outcome] = {}
    outputs: dict[str, str] = {}
    for run in plan.runs[:3]:
        identity = stage_identity(run.recipe, run.consumes, outputs, "pinned")
        assert identity is not None
        outcomes[identity] = make_outcome(run.stage, identity)
        outputs[run.stage] = outcomes[identity].output_digest
    facts = Observed(outcomes=outcomes, sources={"dataset-0": "pinned"})
    waiting = decide(plan, facts, 0.0)
    assert isinstance(waiting, Wait)
    assert waiting == Wait(
        "ReviewPending",
        f"look at {plan.storage_uri}/artifacts/filter/{identity}/data/w1/review.jsonl, "
        f"then set the annotation distillery.dev/approve-review: {identity}",
    )
    other = replace(facts, control=Control(approved="another"))
    approved = replace(facts, control=Control(approved=identity))
    assert decide(plan, other, 0.0) == waiting
    assert isinstance(decide(plan, approved, 0.0), Submit)

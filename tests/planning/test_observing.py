"""What the cluster shows becomes facts: what is live, what failed and why, what is spent; and leftovers go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import make_outcome, make_plan, make_report
from distillery.planning.bookkeeping import (
    KEPT_REPORTS,
    MANY_REPORTS,
    MOST_CLUSTERS,
    Removal,
    expired,
    noted,
    outdated_reports,
    removals,
)
from distillery.planning.children import Child, ClusterView, PodView, RayJobView
from distillery.planning.control import Control
from distillery.planning.failures import failure_of
from distillery.planning.observed import Patience
from distillery.planning.observing import Facts, is_live, observe, shown_failure
from distillery.planning.record import AttemptRecord, parse_record
from distillery.planning.reports import MAX_REPORT_BYTES, accept_reports, newer
from distillery.stages.identity import stage_identity
from distillery.stages.report import Failure, Progress, Report

PLAN = make_plan()
ENTRY = AttemptRecord(
    storage=PLAN.storage_uri,
    stage="teacher",
    attempt=1,
    recipe="teacher-0",
    identity="id",
    generation=1,
    name="job-teacher-1",
    started_at=10.0,
)
KEY = "teacher.1"
JOB = RayJobView(
    "ns", "job-teacher-1", "rayjob-uid", "uid", KEY, created_at=11.0, deployment_status="Running"
)
CLUSTER = ClusterView("ns", "job-teacher-1-abc", "cluster-uid", "uid", KEY, created_at=12.0)
HEAD = PodView("ns", "head", "pod-uid", "uid", KEY, created_at=13.0, phase="Running", head=True, ready=True)
ENDED = replace(JOB, deployment_status="Complete", job_status="SUCCEEDED")
RESULT = make_outcome("teacher", "id")


def facts(
    *children: Child, entry: AttemptRecord = ENTRY, report: Report | None = None, now: float = 100.0
) -> Facts:
    reports = {} if report is None else {KEY: report}
    return Facts({KEY: entry}, reports, children, dict.fromkeys(reports, 50.0), now)


def report(**fields: object) -> Report:
    return make_report("teacher", "teacher-0", 1).model_copy(update=fields)


@pytest.mark.parametrize(
    ("children", "live"),
    [
        ((), False),
        ((JOB,), True),
        ((replace(JOB, terminating=True),), True),
        ((ENDED,), False),
        ((ENDED, CLUSTER), True),
        ((HEAD,), True),
        ((replace(HEAD, terminating_at=90.0),), True),
        ((replace(HEAD, terminating_at=-250.0),), False),
        ((replace(JOB, deployment_status="ValidationFailed"),), False),
    ],
)
def test_an_attempt_lives_until_the_last_of_its_objects_is_gone(
    children: tuple[Child, ...], live: bool
) -> None:
    assert is_live(ENTRY, facts(*children)) is live


def test_a_committed_result_ends_an_attempt_whatever_is_still_there() -> None:
    done = report(state="succeeded", result=RESULT)
    assert not is_live(ENTRY, facts(JOB, CLUSTER, HEAD, report=done))


def test_children_of_other_attempts_do_not_count() -> None:
    assert not is_live(ENTRY, facts(replace(JOB, key="teacher.2"), replace(HEAD, key="student.1")))


@pytest.mark.parametrize(
    ("child", "failure"),
    [
        (
            replace(HEAD, evicted="Preempted", message="by a batch job"),
            Failure(
                failure_class="preemption",
                reason="Preempted",
                message="pod head was taken away: by a batch job",
            ),
        ),
        (
            replace(HEAD, oom_killed=True),
            Failure(
                failure_class="infrastructure",
                reason="OutOfMemory",
                message="pod head ran out of memory: raise its memory limit in the profile, then retry",
            ),
        ),
        (
            replace(JOB, deployment_status="Failed", reason="SubmissionFailed", message="no route"),
            Failure(failure_class="infrastructure", reason="SubmissionFailed", message="no route"),
        ),
        (
            replace(JOB, deployment_status="ValidationFailed", message="the name is too long"),
            Failure(failure_class="user", reason="RayJobInvalid", message="the name is too long"),
        ),
    ],
)
def test_a_failure_is_noted_while_it_can_be_seen(child: Child, failure: Failure) -> None:
    seen = facts(child)
    assert shown_failure(ENTRY, seen) == failure
    entry = noted(seen)[KEY]
    assert entry.failure == failure
    assert shown_failure(entry, facts(entry=entry)) == failure


def test_a_worker_that_was_interrupted_from_outside_is_a_preemption() -> None:
    failure = shown_failure(ENTRY, facts(report=report(state="stopped")))
    assert failure is not None
    assert (failure.failure_class, failure.reason) == ("preemption", "Interrupted")


def test_an_attempt_is_closed_when_everything_of_it_is_gone() -> None:
    running = report()
    assert noted(facts(JOB, CLUSTER, HEAD, report=running, now=71.0)) == {}
    assert noted(facts(ENDED, report=running))[KEY].ended_at == 100.0
    assert noted(facts(report=running))[KEY].ended_at == 100.0


def test_the_uids_of_rayjob_and_ray_clusters_are_noted_with_another_note_or_after_a_minute() -> None:
    both = {"ray_job_uid": JOB.uid, "ray_cluster_uids": [CLUSTER.uid]}
    assert noted(facts(JOB, CLUSTER, now=71.0)) == {}
    assert noted(facts(JOB, CLUSTER, now=72.0)) == {KEY: ENTRY.model_copy(update=both)}
    gpu = noted(facts(JOB, CLUSTER, entry=ENTRY.model_copy(update={"gpus": 1}), now=13.0))[KEY]
    assert (gpu.ray_job_uid, gpu.ray_cluster_uids) == (JOB.uid, [CLUSTER.uid])
    assert noted(facts(JOB, CLUSTER, entry=gpu, now=500.0)) == {}
    again = replace(CLUSTER, uid="second-uid", created_at=400.0)  # a queue has let it in once more
    entry = gpu.model_copy(update={"gpus": 0})
    more = noted(facts(JOB, again, entry=entry, now=500.0))[KEY]
    assert more.ray_cluster_uids == [CLUSTER.uid, "second-uid"]
    many = [replace(CLUSTER, uid=f"uid-{number}") for number in range(40)]
    crowded = noted(facts(JOB, *many, now=500.0))[KEY]
    assert len(crowded.ray_cluster_uids) == MOST_CLUSTERS
    assert noted(facts(JOB, *many, entry=crowded, now=501.0)) == {}
    assert parse_record({KEY: more.dump()}) == {KEY: more}


def test_an_attempt_of_which_nothing_was_seen_is_created_again_and_not_closed() -> None:
    seen = facts()
    assert noted(seen) == {}
    (attempt,) = observe(seen, PLAN, Control(), Patience()).attempts
    assert (attempt.created, attempt.live, attempt.ended_at) == (False, False, None)


def test_gpu_time_counts_from_the_cluster_to_its_end() -> None:
    with_gpus = ENTRY.model_copy(update={"gpus": 2})
    begun = noted(facts(JOB, CLUSTER, entry=with_gpus))[KEY]
    assert begun.cluster_at == 12.0
    assert observe(facts(JOB, CLUSTER, entry=begun), PLAN, Control(), Patience()).gpu_seconds == 176.0
    closed = noted(facts(ENDED, entry=begun, report=report(state="failed", at=100.0), now=112.0))[KEY]
    assert (closed.ended_at, closed.gpu_seconds) == (112.0, 200.0)


WITH_GPUS = ENTRY.model_copy(update={"gpus": 2, "cluster_at": 12.0})


def test_gpu_time_while_nobody_looked_ends_with_the_job() -> None:
    over = replace(ENDED, started_at=11.5, ended_at=40.0)
    closed = noted(facts(over, entry=WITH_GPUS, now=1e5))[KEY]
    assert (closed.ended_at, closed.gpu_seconds) == (100.0, 2 * 88.0)
    said = noted(facts(entry=WITH_GPUS, report=report(state="succeeded", at=30.0), now=1e5))[KEY]
    assert (said.ended_at, said.gpu_seconds) == (90.0, 2 * 78.0)
    unseen = noted(facts(over, entry=WITH_GPUS.model_copy(update={"cluster_at": None}), now=1e5))[KEY]
    assert (unseen.ended_at, unseen.gpu_seconds) == (100.0, 2 * 88.5)


def test_gpu_time_stands_still_in_a_queue() -> None:
    queued = noted(facts(replace(JOB, suspended=True), entry=WITH_GPUS, now=52.0))[KEY]
    assert (queued.cluster_at, queued.gpu_seconds, queued.ended_at) == (None, 80.0, None)
    assert noted(facts(replace(JOB, suspended=True), entry=queued, now=9e4)) == {}
    again = noted(facts(JOB, replace(CLUSTER, created_at=9e4), entry=queued, now=9e4 + 1))[KEY]
    observed = observe(facts(JOB, CLUSTER, entry=again, now=9e4 + 10), PLAN, Control(), Patience())
    assert observed.gpu_seconds == 80.0 + 2 * 10


def test_a_worker_in_a_queue_is_not_silent_and_a_new_cluster_has_time_to_speak() -> None:
    def heard(*children: Child) -> float | None:
        (attempt,) = observe(facts(*children, report=report()), PLAN, Control(), Patience()).attempts
        return attempt.heard_at

    assert heard(JOB, CLUSTER, HEAD) == 50.0
    assert heard(replace(JOB, suspended=True)) is None
    assert heard(JOB, replace(CLUSTER, created_at=70.0)) == 70.0
    assert heard(JOB, CLUSTER, replace(HEAD, created_at=80.0)) == 80.0


LOST_WORKER = Failure(failure_class="infrastructure", reason="TrainWorkerLost", message="a worker is gone")
TAKEN = Failure(failure_class="preemption", reason="Evicted", message="pod w was taken away: spot")
FULL = Failure(failure_class="infrastructure", reason="OutOfMemory", message="raise its limit")
WRONG = Failure(failure_class="user", reason="InvalidInput", message="no such file")


@pytest.mark.parametrize(
    ("said", "shown", "counted"),
    [
        (LOST_WORKER, TAKEN, TAKEN),
        (LOST_WORKER, FULL, FULL),
        (LOST_WORKER, None, LOST_WORKER),
        (WRONG, TAKEN, WRONG),
    ],
)
def test_the_cluster_explains_what_the_worker_could_only_notice(
    said: Failure, shown: Failure | None, counted: Failure
) -> None:
    entry = ENTRY.model_copy(update={"failure": shown, "ended_at": 60.0})
    seen = facts(entry=entry, report=report(state="failed", failure=said))
    (attempt,) = observe(seen, PLAN, Control(), Patience()).attempts
    assert failure_of(attempt) == counted


def test_silence_after_a_preemption_is_part_of_it() -> None:
    entry = ENTRY.model_copy(update={"failure": TAKEN, "control": "stop", "control_reason": "HeartbeatLost"})
    assert shown_failure(entry, facts(entry=entry)) == TAKEN


def test_what_is_spent_is_the_ledger_and_what_a_running_attempt_has_added() -> None:
    seen = facts(JOB, report=report(spent_micro=500, progress=Progress(spent_micro=20), unknown_micro=7))
    observed = observe(seen, PLAN, Control(), Patience())
    assert (observed.ledger_micro, observed.unknown_micro) == (520, 7)


def test_the_trouble_of_the_head_is_told_first() -> None:
    head = replace(HEAD, ready=False, trouble="Unschedulable", message="0/1 nodes are available")
    worker = replace(HEAD, name="a-worker", head=False, trouble="ImagePullBackOff")
    (attempt,) = observe(facts(JOB, worker, head), PLAN, Control(), Patience()).attempts
    assert attempt.trouble == "pod head: Unschedulable: 0/1 nodes are available"


def test_time_in_a_queue_is_not_time_pending() -> None:
    (queued,) = observe(facts(replace(JOB, suspended=True)), PLAN, Control(), Patience()).attempts
    (admitted,) = observe(facts(JOB, CLUSTER), PLAN, Control(), Patience()).attempts
    assert (queued.pending_since, queued.trouble) == (None, "waiting in the queue")
    assert admitted.pending_since == 12.0


STOPPED = ENTRY.model_copy(update={"control": "stop", "control_at": 90.0})


@pytest.mark.parametrize(
    ("seen", "gone", "look"),
    [
        (facts(JOB, CLUSTER, report=report()), [], None),
        (facts(JOB, entry=STOPPED, report=report()), [], 210.0),
        (facts(JOB, entry=STOPPED, report=report(state="stopped")), ["it was asked to stop"], None),
        (facts(JOB, entry=STOPPED), ["it was asked to stop"], None),
        (facts(JOB, entry=STOPPED, report=report(), now=210.0), ["it was asked to stop"], None),
        (facts(replace(JOB, terminating=True), entry=STOPPED), [], None),
        (facts(JOB, report=report(state="failed"), now=60.0), [], 110.0),
        (facts(JOB, report=report(state="failed"), now=110.0), ["it did not end by itself"], None),
        (facts(ENDED, report=report(state="failed"), now=110.0), [], None),
        (facts(replace(JOB, deployment_status="ValidationFailed")), ["KubeRay refuses it"], None),
        (facts(replace(JOB, key="filter.9")), ["the record does not know it"], None),
    ],
)
def test_a_rayjob_goes_when_it_has_served(seen: Facts, gone: list[str], look: float | None) -> None:
    found = [Removal(JOB.name, JOB.uid, reason) for reason in gone]
    assert removals(seen, window=120.0) == (found, look)


@pytest.mark.parametrize(
    ("ttl", "now", "gone", "look"), [(None, 500.0, 0, None), (60, 100.0, 0, 140.0), (60, 140.0, 1, None)]
)
def test_time_to_live_removes_rayjobs_of_a_finished_job(
    ttl: int | None, now: float, gone: int, look: float | None
) -> None:
    found, again = expired(facts(ENDED, now=now), finished_at=80.0, ttl=ttl)
    assert (len(found), again) == (gone, look)


def test_the_record_survives_its_own_text() -> None:
    entry = STOPPED.model_copy(
        update={"failure": Failure(failure_class="user", reason="R", message="m"), "gpus": 4}
    )
    assert parse_record({KEY: entry.dump()}) == {KEY: entry}


@pytest.mark.parametrize("data", [{KEY: "{"}, {"teacher.2": ENTRY.dump()}])
def test_a_damaged_record_is_an_error_since_guessing_could_start_a_second_attempt(
    data: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match="record entry teacher"):
        parse_record(data)


GOOD = report(result=RESULT, state="succeeded")


@pytest.mark.parametrize(
    ("key", "text", "complaint"),
    [
        ("x", "{}", "report 'x' is ignored: there is no such attempt"),
        (
            KEY,
            "{",
            "report teacher.1 is ignored: text: Invalid JSON: EOF while parsing an object at line 1 column 1",
        ),
        (KEY, "{}", "report teacher.1 is ignored: stage: Field required"),
        (
            KEY,
            " " * (MAX_REPORT_BYTES + 1),
            "report teacher.1 is ignored: 8193 bytes, at most 8192 are read",
        ),
        (
            KEY,
            report(recipe="other").model_dump_json(by_alias=True),
            "report teacher.1 is ignored: it describes teacher attempt 1 of another recipe or attempt",
        ),
        (
            KEY,
            report(result=make_outcome("teacher", "another")).model_dump_json(by_alias=True),
            "report teacher.1 is ignored: its result is that of teacher another",
        ),
    ],
)
def test_a_report_that_is_none_is_ignored_and_told(key: str, text: str, complaint: str) -> None:
    assert accept_reports({key: text}, {KEY: ENTRY}) == ({}, [complaint])


def test_a_report_is_read_as_written() -> None:
    assert accept_reports({KEY: GOOD.model_dump_json(by_alias=True)}, {KEY: ENTRY}) == ({KEY: GOOD}, [])


def test_reports_are_ordered_by_incarnation_then_sequence() -> None:
    old, restarted = report(incarnation=1, sequence=9), report(incarnation=2, sequence=0)
    assert newer(restarted, old)
    assert newer(old, old)
    assert not newer(old, restarted)


def test_what_lies_in_another_store_is_not_there() -> None:
    elsewhere = ENTRY.model_copy(update={"storage": "s3://another"})
    done = report(state="succeeded", result=RESULT, sources="pinned")
    here = observe(facts(report=done), PLAN, Control(), Patience())
    there = observe(facts(entry=elsewhere, report=done), PLAN, Control(), Patience())
    assert (list(here.outcomes), here.sources) == (["id"], {"teacher-0": "pinned"})
    assert (there.outcomes, there.sources) == ({}, {})


def many(count: int, **fields: object) -> Facts:
    """Return the facts of `count` ended attempts of the teacher stage for an older recipe."""
    entries = {
        f"teacher.{n}": ENTRY.model_copy(
            update={"attempt": n, "recipe": "older", "started_at": float(n), "ended_at": n + 0.5, **fields}
        )
        for n in range(1, count + 1)
    }
    reports = {key: make_report("teacher", e.recipe, e.attempt) for key, e in entries.items()}
    return Facts(entries, reports, (), {}, 1e6)


def dropped(facts: Facts) -> list[str]:
    observed = observe(facts, PLAN, Control(), Patience(None, None, ()))
    return outdated_reports(facts, PLAN, observed)


def test_reports_that_serve_no_more_go_when_there_are_many() -> None:
    assert dropped(many(MANY_REPORTS)) == []
    full = many(MANY_REPORTS + 1)
    assert dropped(full) == [f"teacher.{n}" for n in range(1, MANY_REPORTS + 2 - KEPT_REPORTS)]


def test_reports_stay_that_are_of_the_plan_or_alive_or_hold_what_it_is_built_on() -> None:
    full = many(MANY_REPORTS + 1)
    entries, reports = dict(full.entries), dict(full.reports)
    entries["teacher.1"] = entries["teacher.1"].model_copy(update={"recipe": PLAN.runs[1].recipe})
    entries["teacher.2"] = entries["teacher.2"].model_copy(update={"ended_at": None})
    run = PLAN.runs[0]
    identity = stage_identity(run.recipe, run.consumes, {}, "pinned")
    assert identity is not None
    entries["dataset.1"] = ENTRY.model_copy(
        update={"stage": "dataset", "recipe": run.recipe, "generation": 0, "started_at": 0.5, "ended_at": 0.6}
    )
    reports["dataset.1"] = make_report(
        "dataset", run.recipe, 1, sources="pinned", result=make_outcome("dataset", identity)
    )
    left = dropped(replace(full, entries=entries, reports=reports))
    assert left == [f"teacher.{n}" for n in range(3, MANY_REPORTS + 2 - KEPT_REPORTS)]

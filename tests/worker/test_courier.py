"""The courier against the ConfigMap API over HTTP: what reaches the reports, whatever the API server does."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from distillery.api.v1alpha1.common import Storage
from distillery.kube.client import Kube
from distillery.planning.record import AttemptRecord
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure, Progress, Report, ReportState
from distillery.stages.stage import StageRun
from distillery.worker.courier import Courier, Rhythm
from distillery.worker.mailbox import TOO_OFTEN, Claim, Mailbox
from worker_bench import NAMESPACE, RECORD, REPORTS, ConfigMapApi, kubeconfig_for, until

KEY = "student.1"
QUICK = Rhythm(heartbeat=0.1, progress=0.05, shortest=0.01, longest=0.03, patience=20)
RARELY = Rhythm(heartbeat=1000, progress=1000, shortest=0.01, longest=0.03, patience=20)
FIRST = Report(stage="student", recipe="r", attempt=1, at=1.0)
RUN = StageRun(
    stage="student", recipe="r", params={}, consumes=["filter"], spec_digest="s", job_name="tiny", job_uid="u"
)


class Desk:
    """Makes couriers of one attempt, each as if in a process of its own."""

    def __init__(self, api: ConfigMapApi, folder: Path) -> None:
        self.api = api
        self.left = threading.Event()
        """A courier has found itself superseded."""
        self._kubeconfig = folder / "kubeconfig"
        self._kubeconfig.write_text(json.dumps(kubeconfig_for(api.url)))

    def courier(self, rhythm: Rhythm = QUICK) -> Courier:
        assignment = Assignment(
            run=RUN,
            attempt=1,
            storage=Storage(uri="file:///nowhere"),
            namespace=NAMESPACE,
            record=RECORD,
            reports=REPORTS,
        )
        return Courier(
            Mailbox(assignment),
            lambda: Kube.connect(str(self._kubeconfig)),
            rhythm,
            time.time,
            self.left.set,
        )

    def leave(self, **fields: object) -> None:
        """Write the report of another process."""
        self.api.put(REPORTS, KEY, FIRST.model_copy(update=fields).model_dump_json(by_alias=True))

    @property
    def reports(self) -> list[Report]:
        return self.api.reports(KEY)

    @property
    def last(self) -> Report:
        return Report.model_validate_json(self.api.maps[REPORTS][KEY])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with ConfigMapApi().served() as api:
        yield Desk(api, tmp_path)


@contextmanager
def at_work(desk: Desk, rhythm: Rhythm = QUICK) -> Iterator[Courier]:
    """A courier that has claimed its attempt; closed in the end."""
    courier = desk.courier(rhythm)
    courier.start(FIRST)
    try:
        yield courier
    finally:
        courier.close()


def ended(state: ReportState) -> Report:
    return FIRST.model_copy(update={"state": state})


def test_a_first_process_claims_the_attempt_with_its_first_report(desk: Desk) -> None:
    courier = desk.courier(RARELY)
    assert courier.start(FIRST) == Claim(1)
    assert desk.reports == [FIRST.model_copy(update={"sequence": 1})]
    assert courier.close()
    assert len(desk.reports) == 1


@pytest.mark.parametrize(
    ("left", "incarnation"), [({"incarnation": 1}, 2), ({"incarnation": 2, "sequence": 900}, 3)]
)
def test_a_later_process_is_the_next_incarnation(desk: Desk, left: dict[str, int], incarnation: int) -> None:
    desk.leave(**left)
    with at_work(desk, RARELY):
        assert (desk.last.incarnation, desk.last.sequence) == (incarnation, 1)


def test_garbage_counts_as_one_process(desk: Desk) -> None:
    desk.api.put(REPORTS, KEY, '{"incarnation": "many"')
    with at_work(desk):
        assert desk.last.incarnation == 2


def test_the_fourth_process_reports_that_there_were_too_many(desk: Desk) -> None:
    desk.leave(incarnation=3)
    claim = desk.courier().start(FIRST)
    assert claim.ended is not None
    assert (claim.incarnation, claim.ended.failure) == (4, TOO_OFTEN)
    assert desk.last == claim.ended.model_copy(update={"incarnation": 4, "sequence": 1})


@pytest.mark.parametrize("state", ["succeeded", "failed", "stopped"])
def test_an_attempt_that_has_ended_is_left_as_it_is(desk: Desk, state: ReportState) -> None:
    desk.leave(state=state, incarnation=2)
    before = desk.last
    assert desk.courier().start(FIRST) == Claim(2, before)
    assert (desk.last, desk.reports) == (before, [])


def test_two_processes_that_start_together_get_different_incarnations(desk: Desk) -> None:
    couriers = [desk.courier() for _ in range(3)]
    claims: list[Claim] = []

    def start(number: int) -> None:
        # No two processes begin in the same microsecond; that is how each knows its own claim.
        claims.append(couriers[number].start(FIRST.model_copy(update={"at": float(number)})))

    threads = [threading.Thread(target=start, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(claim.incarnation for claim in claims) == [1, 2, 3]
    for courier in couriers:
        courier.close()
    assert desk.last.incarnation == 3


def test_changes_of_state_are_written_at_once_and_progress_only_now_and_then(desk: Desk) -> None:
    with at_work(desk, RARELY) as courier:
        for done in range(50):
            courier.send(FIRST.model_copy(update={"progress": Progress(done=done)}))
        courier.send(FIRST.model_copy(update={"progress": Progress(done=50), "warnings": ["look"]}))
        until(lambda: desk.last.warnings == ["look"])
        assert [report.progress.done for report in desk.reports] == [0, 50]
        courier.send(FIRST.model_copy(update={"progress": Progress(done=51), "warnings": ["look"]}))
        courier.flush()
        until(lambda: desk.last.progress.done == 51)


def test_progress_is_written_after_its_interval(desk: Desk) -> None:
    rhythm = Rhythm(heartbeat=1000, progress=0.05, shortest=0.01, longest=0.03, patience=20)
    with at_work(desk, rhythm) as courier:
        courier.send(FIRST.model_copy(update={"progress": Progress(done=7)}))
        until(lambda: desk.last.progress.done == 7)


def test_a_silent_stage_is_reported_at_every_heartbeat(desk: Desk) -> None:
    with at_work(desk):
        until(lambda: len(desk.reports) > 5)
    orders = [(report.sequence, report.at) for report in desk.reports]
    assert orders == sorted(set(orders))
    assert [report.sequence for report in desk.reports] == list(range(1, len(desk.reports) + 1))


def test_the_operators_stop_is_seen_at_a_heartbeat(desk: Desk) -> None:
    entry = AttemptRecord(stage="student", attempt=1, recipe="r", generation=1, name="n", started_at=1.0)
    with at_work(desk) as courier:
        for text in (entry.dump(), "garbage"):
            desk.api.put(RECORD, KEY, text)
            before = len(desk.reports)
            until(lambda before=before: len(desk.reports) > before + 3)
            assert not courier.stop_wanted
        desk.api.put(RECORD, "student.2", entry.model_copy(update={"attempt": 2, "control": "stop"}).dump())
        desk.api.put(RECORD, KEY, entry.model_copy(update={"control": "stop"}).dump())
        until(lambda: courier.stop_wanted)


def test_an_outage_of_any_length_delays_the_reports_and_nothing_else(desk: Desk) -> None:
    with at_work(desk) as courier:
        desk.api.fault = lambda method, name: "cut"
        until(lambda: desk.api.faults > 20)
        written = len(desk.reports)
        courier.send(ended("succeeded"))
        until(lambda: desk.api.faults > 30)
        assert len(desk.reports) == written
        desk.api.fault = lambda method, name: None
        assert courier.close()
    assert desk.last.state == "succeeded"


def test_a_last_report_that_cannot_be_delivered_is_known_not_to_be(desk: Desk) -> None:
    rhythm = Rhythm(heartbeat=0.1, progress=0.05, shortest=0.01, longest=0.03, patience=4)
    courier = desk.courier(rhythm)
    courier.start(FIRST)
    desk.api.fault = lambda method, name: "500"
    courier.send(ended("succeeded"))
    assert not courier.close()
    assert desk.last.state == "running"


def test_a_start_that_the_api_server_does_not_allow_is_given_up(desk: Desk) -> None:
    rhythm = Rhythm(heartbeat=0.1, progress=0.05, shortest=0.01, longest=0.03, patience=0.3)
    desk.api.fault = lambda method, name: "403"
    courier = desk.courier(rhythm)
    with pytest.raises(TimeoutError):
        courier.start(FIRST)
    assert desk.api.maps[REPORTS] == {}


@pytest.mark.parametrize("seed", range(5))
def test_calls_that_go_wrong_in_every_way_half_of_the_time_harm_nothing(desk: Desk, seed: int) -> None:
    rng = random.Random(seed)
    desk.api.fault = lambda method, name: rng.choice(["500", "403", "409", "cut", "lost", *[None] * 5])
    with at_work(desk) as courier:
        for number in range(8):
            courier.send(FIRST.model_copy(update={"warnings": [str(number)]}))
            before = len(desk.reports)
            until(lambda before=before: len(desk.reports) > before)
        failure = Failure(failure_class="user", reason="Some", message="reason")
        courier.send(ended("failed").model_copy(update={"failure": failure}))
        assert courier.close()
    orders = [(report.incarnation, report.sequence) for report in desk.reports]
    assert orders == sorted(set(orders))
    assert {incarnation for incarnation, _ in orders} == {1}
    assert (desk.last.state, desk.last.failure) == ("failed", failure)
    assert desk.api.faults


def test_garbage_and_removal_in_mid_run_are_overwritten(desk: Desk) -> None:
    with at_work(desk):
        desk.api.put(REPORTS, KEY, "garbage")
        until(lambda: desk.api.maps[REPORTS][KEY] != "garbage")
        desk.api.put(REPORTS, KEY, None)
        until(lambda: KEY in desk.api.maps[REPORTS])
        assert {report.incarnation for report in desk.reports} == {1}
        assert not desk.left.is_set()


def test_what_others_write_under_other_keys_does_not_matter(desk: Desk) -> None:
    with at_work(desk) as courier:
        desk.api.put(REPORTS, "student.2", FIRST.model_copy(update={"incarnation": 9}).model_dump_json())
        courier.send(ended("stopped"))
        until(lambda: desk.last.state == "stopped")
    assert not desk.left.is_set()


def test_a_superseded_process_leaves_without_writing(desk: Desk) -> None:
    courier = desk.courier()
    courier.start(FIRST)
    until(lambda: len(desk.reports) > 2)
    desk.leave(incarnation=2, sequence=1)
    before = desk.last
    courier.send(ended("succeeded"))
    assert desk.left.wait(20)
    assert not courier.close()
    assert desk.last == before
    assert {report.state for report in desk.reports} == {"running"}


@pytest.mark.soak
def test_a_call_that_hangs_is_given_up_after_its_time_limit(desk: Desk) -> None:
    with at_work(desk, Rhythm(0.1, 0.05, 0.01, 0.03, patience=60)) as courier:
        desk.api.fault = lambda method, name: "hang"
        until(lambda: desk.api.faults)
        desk.api.fault = lambda method, name: None
        courier.send(ended("succeeded"))
        assert courier.close()
    assert desk.last.state == "succeeded"

"""One worker process: how it begins, how it ends, what its report and its exit status say."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.artifacts import layout
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure, Report
from distillery.stages.stage import StageName
from tiny_job import make_bench, teacher_process, write_tickets
from worker_bench import REPORTS, ConfigMapApi, Operator, until

pytestmark = pytest.mark.timeout(400)

CONCURRENCY = 8
COMMIT_WINDOW_CALLS = 40  # what eight connections can start within one commit window of 100 ms on loopback


def running(operator: Operator, incarnation: int, **fields: Any) -> str:
    """Return what an earlier process of the dataset stage's first attempt has left."""
    run = operator.plan.run("dataset")
    report = Report(stage="dataset", recipe=run.recipe, attempt=1, incarnation=incarnation, sequence=7)
    return report.model_copy(update=fields).model_dump_json(by_alias=True)


def test_a_stop_in_the_record_ends_the_stage_and_the_next_attempt_goes_on(slow: Operator) -> None:
    process = slow.start("teacher")
    until(lambda: len(slow.bench.billed()) > 30)
    slow.tell_to_stop("teacher")
    ended = slow.wait(process)
    assert ended.code == 0, ended.log
    assert slow.last("teacher").state == "stopped"
    bought = len(slow.bench.billed())
    assert slow.run("teacher", attempt=2).code == 0
    asked = {call["row"] for call in slow.bench.billed()}
    assert bought < len(slow.bench.billed()) == len(asked)


def test_sigterm_is_a_stop(slow: Operator) -> None:
    process = slow.start("teacher")
    until(lambda: len(slow.bench.billed()) > 30)
    process.send_signal(signal.SIGTERM)
    ended = slow.wait(process)
    assert ended.code == 0, ended.log
    assert slow.last("teacher").state == "stopped"


def test_a_killed_process_is_continued_as_the_next_incarnation(slow: Operator) -> None:
    process = slow.start("teacher")
    until(lambda: len(slow.bench.billed()) > 60)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(children.REAP_SECONDS)
    ended = slow.run("teacher")
    assert ended.code == 0, ended.log
    orders = [(report.incarnation, report.sequence) for report in slow.reports("teacher")]
    assert orders == sorted(set(orders))
    assert {incarnation for incarnation, _ in orders} == {1, 2}
    last = slow.last("teacher")
    assert last.state == "succeeded"
    assert last.result is not None
    assert not last.result.reused
    bill = slow.bench.billed()
    assert len(bill) - len({call["row"] for call in bill}) <= CONCURRENCY + COMMIT_WINDOW_CALLS


def test_the_fourth_process_gives_up_and_a_fifth_says_no_more(operator: Operator) -> None:
    operator.api.put(REPORTS, "dataset.1", running(operator, 3))
    ended = operator.wait(operator.start("dataset"))
    assert ended.code == 1, ended.log
    [report] = operator.reports("dataset")
    assert (report.incarnation, report.sequence, report.state) == (4, 1, "failed")
    assert report.failure == Failure(
        failure_class="infrastructure",
        reason="RestartedTooOften",
        message="the process of this attempt was started more than 3 times: its pod keeps failing",
    )
    assert operator.wait(operator.start("dataset")).code == 1
    assert len(operator.reports("dataset")) == 1
    assert operator.bench.billed() == []


def test_an_attempt_that_has_ended_is_not_run_again(operator: Operator) -> None:
    before = running(operator, 1, state="stopped")
    operator.api.put(REPORTS, "dataset.1", before)
    assert operator.wait(operator.start("dataset")).code == 0
    assert operator.api.maps[REPORTS]["dataset.1"] == before
    assert list(operator.bench.store.list("artifacts/")) == []


def test_a_superseded_process_ends_at_once_and_writes_nothing(slow: Operator) -> None:
    process = slow.start("teacher")
    until(lambda: len(slow.bench.billed()) > 30)
    later = slow.last("teacher").model_copy(update={"incarnation": 2, "sequence": 1})
    slow.api.put(REPORTS, "teacher.1", later.model_dump_json(by_alias=True))
    ended = slow.wait(process)
    assert ended.code == 3, ended.log
    assert slow.last("teacher") == later
    assert {report.incarnation for report in slow.reports("teacher")} == {1}


def test_an_api_server_that_is_away_from_start_to_end_of_the_work_delays_only_the_report(
    slow: Operator,
) -> None:
    process = slow.start("teacher")
    until(lambda: slow.reports("teacher"))
    slow.api.fault = lambda method, name: "cut"
    until(
        lambda: any(
            stat.key.endswith("/manifest.json") for stat in slow.bench.store.list("artifacts/teacher/")
        )
    )
    until(lambda: slow.api.faults > 3)
    assert {report.state for report in slow.reports("teacher")} == {"running"}
    slow.api.fault = lambda method, name: None
    assert slow.wait(process).code == 0
    assert slow.last("teacher").state == "succeeded"


def test_a_result_that_could_not_be_told_is_told_by_the_next_process_as_the_attempts_own(
    operator: Operator,
) -> None:
    operator.heartbeat = 0.05  # patience is sixty times as long
    operator.api.fault = lambda method, name: "500" if operator.api.written else None
    ended = operator.wait(operator.start("dataset"))
    assert ended.code == 4, ended.log
    operator.api.fault = lambda method, name: None
    operator.heartbeat = 0.3
    assert operator.run("dataset").code == 0
    last = operator.last("dataset")
    assert (last.incarnation, last.state) == (2, "succeeded")
    assert last.result is not None
    assert not last.result.reused
    assert last.result.cost == operator.bench.manifests()["dataset"].cost


def test_a_user_error_fails_the_attempt_and_the_process(operator: Operator) -> None:
    operator.bench.tickets.unlink()
    ended = operator.wait(operator.start("dataset"))
    assert ended.code == 1, ended.log
    failure = operator.last("dataset").failure
    assert failure is not None
    assert (failure.failure_class, failure.reason) == ("user", "InvalidInput")
    assert "matches no file" in failure.message


def test_the_log_of_an_attempt_stays_in_the_store(operator: Operator) -> None:
    operator.bench.tickets.unlink()
    operator.wait(operator.start("dataset"))
    kept = operator.bench.store.get(layout.attempt_log(operator.uid, "dataset", 1))
    lines = [json.loads(line) for line in kept.splitlines()]
    assert {(line["job"], line["stage"], line["attempt"]) for line in lines} == {("tiny", "dataset", 1)}
    assert lines[0]["message"] == "process 1 of this attempt begins"
    assert "matches no file" in lines[-1]["message"]


def test_storage_that_cannot_be_opened_is_reported_by_secret_key_and_namespace(operator: Operator) -> None:
    file = operator.bench.folder / "assignment.json"
    storage = {"uri": "s3://bucket/prefix", "credentialsSecret": "s3-keys"}
    assignment = operator.assignment("dataset").model_dump(mode="json", by_alias=True) | {"storage": storage}
    operator.environment = {
        "DISTILLERY_ASSIGNMENT": str(file),
        "DISTILLERY_SECRET_S3_KEYS_AWS_ACCESS_KEY_ID": "half-a-pair",
    }
    file.write_text(json.dumps(assignment))
    assert operator.wait(operator.start("dataset")).code == 1
    failure = operator.last("dataset").failure
    assert failure == Failure(
        failure_class="user",
        reason="InvalidInput",
        message="secret s3-keys/AWS_SECRET_ACCESS_KEY: the Secret s3-keys in namespace support has no value under the "
        "key AWS_SECRET_ACCESS_KEY → add the key AWS_SECRET_ACCESS_KEY to the Secret; the next attempt reads it",
    )


def test_a_key_that_the_teacher_repeats_in_its_refusal_is_hidden(tmp_path: Path) -> None:
    key = 'sk-"quoted"-4711-SECRET'
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, "--api-key", "another") as url, ConfigMapApi().served() as api:
        bench = make_bench(tmp_path / "bench", url, bill)
        teacher = dict(bench.manifest()["spec"]["teacher"])
        teacher["endpoint"] = {"url": url, "apiKeySecret": {"name": "teacher", "key": "api-key"}}
        operator = Operator(bench, api, changes={"teacher": teacher})
        operator.environment = {"DISTILLERY_SECRET_TEACHER_API_KEY": key}
        ended = operator.wait(operator.start("dataset"))
    assert ended.code == 1, ended.log
    failure = operator.last("dataset").failure
    assert failure is not None
    assert "apiKeySecret" in failure.message
    kept = bench.store.get(layout.attempt_log(operator.uid, "dataset", 1)).decode()
    assert "4711" not in failure.message + ended.log + kept + "".join(text for _, text in api.written)


def test_sources_stay_pinned_for_the_object_until_the_recipe_changes(operator: Operator) -> None:
    refused = dict(operator.bench.manifest()["spec"]["teacher"], endpoint={"url": "http://127.0.0.1:1/v1"})
    operator.changes = {"teacher": refused}
    assert operator.wait(operator.start("dataset")).code == 1  # after pinning, at the preflight
    pinned = operator.last("dataset").sources
    write_tickets(operator.bench.tickets, range(241))
    operator.changes = {}
    assert operator.wait(operator.start("dataset", attempt=2)).code == 1
    second = operator.last("dataset", attempt=2)
    assert second.failure is not None
    assert (second.failure.failure_class, second.failure.reason) == ("user", "SourcesChanged")
    assert second.sources == pinned
    split = {"validation": 0.1, "test": 0.25, "seed": 4}
    operator.changes = {"dataset": dict(operator.bench.manifest()["spec"]["dataset"], split=split)}
    assert operator.wait(operator.start("dataset", attempt=3)).code == 0
    assert operator.last("dataset", attempt=3).sources != pinned
    assert len(list(operator.bench.store.list(layout.pins(operator.uid, "x").removesuffix("x.json")))) == 2


def test_an_assignment_that_cannot_be_read_has_an_exit_status_of_its_own(tmp_path: Path) -> None:
    deep = json.dumps({"run": {"params": "DEEP"}}).replace('"DEEP"', '{"a":' * 1500 + "1" + "}" * 1500)
    for text in (None, "{}", "no json", deep):
        if text is not None:
            (tmp_path / "assignment.json").write_text(text)
        done = children.run(
            [sys.executable, "-m", "distillery.worker"],
            env=os.environ | {"DISTILLERY_ASSIGNMENT": str(tmp_path / "assignment.json")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "there is no usable assignment" in done.stderr
        assert "Traceback" not in done.stderr


class Careless(Operator):
    """An operator that lets through what is nested too deep."""

    def assignment(self, stage: StageName, attempt: int = 1) -> Assignment:
        whole = super().assignment(stage, attempt)
        deep: dict[str, object] = {}
        for _ in range(90):
            deep = {"a": deep}
        return whole.model_copy(update={"run": whole.run.model_copy(update={"params": {"odd": deep}})})


def test_parameters_that_are_nested_too_deep_are_refused_with_a_word(operator: Operator) -> None:
    careless = Careless(operator.bench, operator.api, operator.heartbeat, operator.environment)
    ended = careless.wait(careless.start("dataset"))
    assert ended.code == 2, ended.log
    last = operator.last("dataset").failure
    assert last is not None
    assert (last.failure_class, last.reason) == ("user", "InvalidSpec")
    assert last.message.endswith("deep or more: flatten them, 80 are allowed")
    assert operator.bench.billed() == []

"""The whole stage against a real HTTP teacher on loopback, with a student of a few lines and with a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from distillery.api.v1alpha1.status import GateStatus
from distillery.api.v1alpha1.teacher import RateLimits
from distillery.artifacts.manifest import digest, logical_digest
from distillery.artifacts.tables import PREDICTIONS, rows_digest
from distillery.errors import StageFailed, StageStopped
from distillery.stages import asking
from distillery.stages.evaluation import driver
from evaluation_stage import KeywordModel, World, make_params, make_rows
from fake_teacher import FakeTeacher, Fault, FaultKind
from querying_builders import QUICK

FILES = {
    "predictions.parquet",
    "metrics.json",
    "latency.json",
    "cost.json",
    "verdict.json",
    "report.html",
    "README.md",
}


@pytest.fixture
def teacher() -> Iterator[FakeTeacher]:
    with FakeTeacher() as server:
        yield server


@pytest.fixture(autouse=True)
def student(monkeypatch: pytest.MonkeyPatch) -> KeywordModel:
    """Put a student of a few lines into the driver's hands, and an impatient engine."""
    model = KeywordModel()
    monkeypatch.setattr(driver.StudentModel, "load", lambda folder, threads=None: model)
    monkeypatch.setattr(asking, "EngineOptions", lambda: QUICK)
    return model


def test_a_good_student_passes_and_is_released_with_all_its_papers(
    tmp_path: Path, teacher: FakeTeacher
) -> None:
    world = World(tmp_path)
    attempt = world.run(make_params(teacher.url))
    assert {path.name for path in attempt.output.folder.iterdir()} == FILES
    summary = attempt.result.summary
    # Every 20th of 120 rows is taken for a refund; two of those six are refunds.
    assert (summary["verdict"], summary["retention"], summary["agreement"]) == ("passed", 0.966667, 0.966667)
    assert (summary["basis"], summary["rows"], summary["teacherFailed"]) == ("reference", 120, 0)
    assert summary["releaseVersion"] == "e" * 12
    assert summary["servingNoise"] == 1.0
    gates = [GateStatus.model_validate(gate) for gate in summary["gates"]]
    assert [(gate.name, gate.result) for gate in gates] == [
        ("retention", "passed"),
        ("teacherFailures", "passed"),
    ]
    assert attempt.result.counts["test"] == 120
    released = json.loads(world.store.get(f"models/router/{'e' * 12}/release.json"))
    assert {file["path"] for file in released["files"]} == {
        "model/config.json",
        "model/README.md",
        *(FILES - {"predictions.parquet", "README.md"}),
    }
    assert released["task"]["systemPrompt"] == "Route it."
    assert json.loads(world.store.get("models/router/latest.json"))["version"] == "e" * 12


def test_only_test_rows_meet_the_teacher_and_noise_rows_twice(tmp_path: Path, teacher: FakeTeacher) -> None:
    world = World(tmp_path)
    attempt = world.run(make_params(teacher.url))
    numbers = [int(call["row"].split(":")[0]) for call in teacher.bill]
    assert len(numbers) == 120 + 40
    assert set(numbers) == set(range(120))
    assert attempt.result.cost.calls == 160
    micro = sum(Decimal("2.5") * call["prompt"] + 10 * call["completion"] for call in teacher.bill)
    assert attempt.result.cost.spent_micro == -(-micro // 1)


def test_noise_rows_are_asked_one_at_a_time(tmp_path: Path) -> None:
    with FakeTeacher(delay=0.002) as teacher:
        world = World(tmp_path, make_rows(40))
        attempt = world.run(make_params(teacher.url))
        gaps = [
            later - earlier
            for earlier, later in zip(teacher.arrivals[-40:], teacher.arrivals[-39:], strict=False)
        ]
    assert min(gaps) >= 0.002
    latency = attempt.document("latency.json")
    assert latency["teacher"]["rows"] == latency["student"]["rows"] == 40
    assert latency["teacher"]["p50Ms"] >= 2
    assert latency["teacher"]["fromCache"] == 0


def test_running_again_buys_nothing_gives_the_same_digest_and_says_that_times_are_old(
    tmp_path: Path, teacher: FakeTeacher
) -> None:
    world = World(tmp_path)
    first = world.run(make_params(teacher.url))
    billed = len(teacher.bill)
    second = world.run(make_params(teacher.url), identity="f" * 64)
    assert len(teacher.bill) == billed
    assert second.result.output_digest == first.result.output_digest
    assert second.result.cost.spent_micro == 0
    assert second.document("latency.json")["teacher"]["fromCache"] == 40
    assert second.document("metrics.json") == first.document("metrics.json")
    assert second.document("cost.json") == first.document("cost.json")


def test_another_student_gives_another_digest(
    tmp_path: Path, teacher: FakeTeacher, student: KeywordModel
) -> None:
    world = World(tmp_path)
    first = world.run(make_params(teacher.url))
    student.wrong = 7
    assert world.run(make_params(teacher.url)).result.output_digest != first.result.output_digest


def test_a_failed_gate_is_a_verdict_and_releases_nothing(
    tmp_path: Path, teacher: FakeTeacher, student: KeywordModel
) -> None:
    student.wrong = 2
    world = World(tmp_path)
    attempt = world.run(make_params(teacher.url))
    assert attempt.result.summary["verdict"] == "failed"
    assert "releaseVersion" not in attempt.result.summary
    assert attempt.document("verdict.json")["gates"][0]["result"] == "failed"
    assert [item.key for item in world.store.list("models/")] == []


def test_too_few_rows_are_undecided_and_release_nothing(tmp_path: Path, teacher: FakeTeacher) -> None:
    world = World(tmp_path, make_rows(20))
    attempt = world.run(make_params(teacher.url))
    assert attempt.result.summary["verdict"] == "undecided"
    assert "only 20 independent rows" in attempt.document("verdict.json")["gates"][0]["message"]
    assert [item.key for item in world.store.list("models/")] == []


def test_rows_without_an_answer_are_left_out_counted_and_fail_above_the_limit(tmp_path: Path) -> None:
    faults = [Fault("422", match=f"{number}: ") for number in (101, 103, 106)]
    with FakeTeacher(faults=faults) as teacher:
        world = World(tmp_path)
        attempt = world.run(make_params(teacher.url))
        assert attempt.result.summary["teacherFailed"] == 3
        assert attempt.result.summary["rows"] == 117
        assert attempt.result.summary["verdict"] == "failed"
        failed = [row for row in attempt.predictions if row["teacher_status"] == "failed"]
        assert [(row["row_id"], row["teacher_score"], row["student_score"]) for row in failed] == [
            (f"r0{number}", None, None) for number in (101, 103, 106)
        ]
        tolerant = world.run(make_params(teacher.url, max_failed=0.1))
        assert tolerant.result.summary["verdict"] == "passed"


def test_an_outage_while_all_test_rows_are_under_way_changes_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "EngineOptions", lambda: replace(QUICK, startup_seconds=20))
    with FakeTeacher(faults=[Fault("503", times=12 * 120)]) as teacher:
        world = World(tmp_path)
        limits = RateLimits(concurrency=120)
        attempt = world.run(make_params(teacher.url, teacher={"rate_limits": limits}))
    assert (attempt.result.summary["verdict"], attempt.result.summary["teacherFailed"]) == ("passed", 0)


@pytest.mark.parametrize(("kind", "reason"), [("503", "TeacherUnavailable"), ("hang", "TooManyFailed")])
def test_a_teacher_that_stays_away_while_all_test_rows_are_under_way_is_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: FaultKind, reason: str
) -> None:
    monkeypatch.setattr(asking, "EngineOptions", lambda: replace(QUICK, timeout_seconds=0.5))
    limits = {"rate_limits": RateLimits(concurrency=120)}
    with FakeTeacher(faults=[Fault(kind)]) as teacher, pytest.raises(StageFailed) as failed:
        World(tmp_path).run(make_params(teacher.url, teacher=limits))
    assert (failed.value.reason, failed.value.failure_class) == (reason, "infrastructure")


def test_a_teacher_that_is_away_is_no_verdict(tmp_path: Path) -> None:
    faults = [Fault("500", match=f"{number}: ") for number in (101, 103, 106)]
    with FakeTeacher(faults=faults) as teacher:
        world = World(tmp_path)
        with pytest.raises(StageFailed) as failed:
            world.run(make_params(teacher.url))
    assert (failed.value.reason, failed.value.failure_class) == ("TooManyFailed", "infrastructure")
    assert "3 of 120 test rows stayed unanswered because the teacher was away: ServerError 3" in str(
        failed.value
    )


def test_rows_too_long_for_the_student_score_nothing(tmp_path: Path, teacher: FakeTeacher) -> None:
    rows = make_rows()
    rows[5]["messages"][0]["content"] += " and so on" * 50
    attempt = World(tmp_path, rows).run(make_params(teacher.url))
    assert attempt.document("metrics.json")["rows"]["tooLong"] == 1
    row = attempt.predictions[5]
    assert (row["student_answer"], row["student_score"], row["teacher_score"], row["student_valid"]) == (
        None,
        0.0,
        1.0,
        False,
    )


def test_predictions_have_the_columns_of_the_contract(tmp_path: Path, teacher: FakeTeacher) -> None:
    attempt = World(tmp_path, make_rows(30)).run(make_params(teacher.url))
    assert list(attempt.predictions[0]) == PREDICTIONS.names
    assert [row["row_id"] for row in attempt.predictions] == sorted(
        row["row_id"] for row in attempt.predictions
    )


def test_rows_without_references_are_judged_by_agreement(tmp_path: Path, teacher: FakeTeacher) -> None:
    rows: list[dict[str, Any]] = [{**row, "reference": None} for row in make_rows()]
    attempt = World(tmp_path, rows).run(make_params(teacher.url))
    summary = attempt.result.summary
    assert (summary["basis"], summary["verdict"]) == ("teacher", "passed")
    assert summary["retention"] == summary["agreement"] == 0.966667
    assert "The student gives the teacher’s answer" in attempt.output.path("report.html").read_text()


@pytest.mark.parametrize("phase", ["asking the teacher", "asking the student", "timing the student"])
def test_a_stop_in_any_phase_is_heard_and_what_was_bought_stays(
    tmp_path: Path, teacher: FakeTeacher, phase: str
) -> None:
    world = World(tmp_path)
    world.stop = lambda: any(progress.message == phase for progress in world.progress)
    with pytest.raises(StageStopped):
        world.run(make_params(teacher.url))
    world.stop = lambda: False
    assert world.run(make_params(teacher.url)).result.summary["verdict"] == "passed"
    assert len(teacher.bill) <= 160 + 8


def test_progress_counts_up_to_all_phases(tmp_path: Path, teacher: FakeTeacher) -> None:
    world = World(tmp_path)
    world.run(make_params(teacher.url))
    done = [progress.done for progress in world.progress]
    assert done == sorted(done)
    assert {progress.total for progress in world.progress} == {2 * 120 + 2 * 40}
    assert done[-1] == 320


def test_a_reached_budget_ends_the_stage_and_is_no_verdict(tmp_path: Path, teacher: FakeTeacher) -> None:
    params = make_params(teacher.url, teacher={"max_cost": Decimal("0.001")})
    with pytest.raises(StageFailed) as caught:
        World(tmp_path).run(params)
    assert caught.value.failure_class == "budget"


def test_no_second_pass_without_noise_rows(tmp_path: Path, teacher: FakeTeacher) -> None:
    attempt = World(tmp_path).run(make_params(teacher.url, evaluation={"noiseRows": 0}))
    assert len(teacher.bill) == 120
    assert attempt.document("metrics.json")["servingNoise"] is None
    assert attempt.document("latency.json")["teacher"] is None


def test_a_real_student_is_loaded_asked_and_timed(
    tmp_path: Path, teacher: FakeTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modeling.small import tiny_student

    monkeypatch.undo()
    monkeypatch.setattr(asking, "EngineOptions", lambda: QUICK)

    def write(folder: Path) -> None:
        student = tiny_student()
        student.model.save_pretrained(folder)
        student.chat.tokenizer.save_pretrained(folder)

    world = World(tmp_path, make_rows(40), write)
    attempt = world.run(make_params(teacher.url))
    again = world.run(make_params(teacher.url))
    assert attempt.result.output_digest == again.result.output_digest
    assert attempt.document("metrics.json")["calibration"]["rows"] == 40
    assert {row["student_answer"] for row in attempt.predictions} <= {"billing", "login", "refund"}
    assert attempt.document("latency.json")["student"]["rows"] == 40


def test_progress_tells_what_was_spent_also_while_the_student_answers(
    tmp_path: Path, teacher: FakeTeacher
) -> None:
    world = World(tmp_path)
    attempt = world.run(make_params(teacher.url))
    spent = [progress.spent_micro for progress in world.progress]
    assert spent == sorted(spent)
    assert spent[0] == 0 < spent[-1] == attempt.result.cost.spent_micro
    assert {p.spent_micro for p in world.progress if "student" in p.message} == {spent[-1]}


def test_the_digest_is_that_of_the_table_as_stored(tmp_path: Path, teacher: FakeTeacher) -> None:
    attempt = World(tmp_path).run(make_params(teacher.url))
    stored = {
        "predictions": rows_digest(attempt.predictions, PREDICTIONS),
        "metrics": digest(attempt.document("metrics.json")),
    }
    assert attempt.result.output_digest == logical_digest(stored)

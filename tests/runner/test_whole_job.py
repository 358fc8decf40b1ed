"""A job runs from raw inputs to a released student, and running again does only what has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distillery.api.yaml import load_yaml
from tiny_job import Finished

STAGES = ["dataset", "teacher", "filter", "student", "evaluation"]
pytestmark = pytest.mark.timeout(400)


def test_a_job_ends_with_a_verdict_a_release_and_a_report(finished: Finished) -> None:
    assert finished.first.code == 0, finished.first.out + finished.first.err
    status = finished.first.status
    assert finished.first.ran == STAGES
    assert status["phase"] == "Succeeded"
    assert status["evaluation"]["verdict"] == "passed"
    store = finished.bench.store
    version = status["release"]["version"]
    assert store.stat(f"models/router/{version}/model/model.safetensors") is not None
    assert json.loads(store.get("models/router/latest.json"))["version"] == version
    assert (finished.bench.workdir / "report.html").read_text().startswith("<!doctype html>")


def test_a_finished_job_leaves_no_checkpoints(finished: Finished) -> None:
    assert list(finished.bench.store.list("checkpoints/")) == []


def test_status_yaml_is_the_status_of_the_object(finished: Finished) -> None:
    text = (finished.bench.workdir / "status.yaml").read_bytes()
    assert load_yaml(text, "status.yaml") == finished.first.status
    assert len(text) < 16 * 1024


def test_the_ledger_equals_the_teachers_own_bill(finished: Finished) -> None:
    bill = finished.bench.billed()[: finished.billed]
    micro = sum(2 * call["prompt"] + 10 * call["completion"] for call in bill)
    assert finished.first.status["cost"]["spent"] == f"{micro / 1e6:.6f}"


def test_running_again_does_nothing(finished: Finished) -> None:
    billed = len(finished.bench.billed())
    again = finished.bench.run()
    assert again.code == 0
    assert again.ran == []
    assert len(finished.bench.billed()) == billed


def test_a_changed_gate_runs_the_evaluation_only(finished: Finished, tmp_path: Path) -> None:
    bench = finished.copy(tmp_path / "bench")
    billed = len(bench.billed())
    changed = bench.run("--set", "spec.evaluation.gates.retention.min=1.9")
    assert changed.code == 3, changed.out + changed.err
    assert changed.ran == ["evaluation"]
    assert len(bench.billed()) == billed


@pytest.mark.long
def test_a_changed_filter_runs_filter_student_and_evaluation(finished: Finished, tmp_path: Path) -> None:
    bench = finished.copy(tmp_path / "bench")
    billed = len(bench.billed())
    changed = bench.run("--set", "spec.filter.rules=[{refusal: {patterns: [I think]}}, {format: {}}]")
    assert changed.code in (0, 3), changed.out + changed.err
    assert changed.ran == ["filter", "student", "evaluation"]
    assert len(bench.billed()) == billed


@pytest.mark.long
def test_a_shuffled_input_file_changes_nothing_beyond_the_dataset(finished: Finished, tmp_path: Path) -> None:
    bench = finished.copy(tmp_path / "bench")
    billed = len(bench.billed())
    bench.replace_tickets(range(239, -1, -1))
    shuffled = bench.run()
    assert shuffled.code == 0, shuffled.out + shuffled.err
    assert shuffled.ran == ["dataset"]
    assert len(bench.billed()) == billed


def test_ten_more_rows_buy_ten_answers_at_most(finished: Finished, tmp_path: Path) -> None:
    bench = finished.copy(tmp_path / "bench")
    billed = {call["row"] for call in bench.billed()}
    bench.replace_tickets(range(250))
    longer = bench.run()
    assert longer.code in (0, 3), longer.out + longer.err
    new = [call["row"] for call in bench.billed() if call["row"] not in billed]
    assert 0 < len(set(new)) <= 10


def test_a_deleted_workdir_is_replaced_by_what_the_store_holds(finished: Finished, tmp_path: Path) -> None:
    bench = finished.copy(tmp_path / "bench")
    shutil.rmtree(bench.workdir)
    billed = len(bench.billed())
    adopted = bench.run()
    assert adopted.code == 0, adopted.out + adopted.err
    assert adopted.ran == []
    assert len(bench.billed()) == billed


def test_a_corrupted_artifact_is_named_and_not_used(finished: Finished, tmp_path: Path) -> None:
    bench = finished.copy(tmp_path / "bench")
    shutil.rmtree(bench.workdir)
    kept = next((bench.folder / "store" / "artifacts" / "filter").rglob("kept.parquet"))
    damaged = bytearray(kept.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    kept.write_bytes(damaged)
    failed = bench.run_here("--set", "spec.student.seed=99")
    assert failed.code == 1, failed.out + failed.err
    assert failed.ran == []
    message = failed.events[-1]["message"]
    assert "kept.parquet" in message
    assert "run again to rebuild it" in message

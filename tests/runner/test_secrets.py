"""A key reaches the teacher and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiny_job import Bench, make_bench, teacher_process

KEY = "sk-planted-4711-SECRET"
pytestmark = pytest.mark.timeout(400)


def with_key(bench: Bench) -> None:
    teacher: dict[str, Any] = dict(bench.manifest()["spec"]["teacher"])
    teacher["endpoint"] = {"url": bench.url, "apiKeySecret": {"name": "teacher", "key": "api-key"}}
    bench.write_job(teacher=teacher)


def everything_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_planted_key_appears_nowhere_in_a_full_run(tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, "--api-key", KEY) as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        with_key(bench)
        bench.environment = {"DISTILLERY_SECRET_TEACHER_API_KEY": KEY}
        done = bench.run()
    assert done.code == 0, done.out + done.err
    assert KEY not in done.out + done.err
    assert everything_written(tmp_path) == []


def test_a_refused_key_is_explained_without_being_repeated(tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, "--api-key", "another") as url:  # this teacher repeats the key in its error
        bench = make_bench(tmp_path / "bench", url, bill)
        with_key(bench)
        bench.environment = {"DISTILLERY_SECRET_TEACHER_API_KEY": KEY}
        refused = bench.run()
    assert refused.code == 1, refused.out + refused.err
    assert "apiKeySecret" in refused.events[-1]["message"]
    assert KEY not in refused.out + refused.err
    assert everything_written(tmp_path) == []

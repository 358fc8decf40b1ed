"""A budget is a hard stop, and raising it buys only what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiny_job import Bench, make_bench, teacher_process

pytestmark = pytest.mark.timeout(400)


def budgeted(bench: Bench, max_cost: str) -> None:
    teacher: dict[str, Any] = dict(bench.manifest()["spec"]["teacher"])
    teacher["pricing"] = {"promptPerMillion": "0", "completionPerMillion": "1000.00"}
    bench.write_job(teacher=teacher, budget={"maxCost": max_cost})


def micro(bench: Bench) -> int:
    return sum(1000 * call["completion"] for call in bench.billed())


def test_a_budget_for_half_the_rows_stops_the_job_and_a_higher_one_buys_the_rest(tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill) as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        budgeted(bench, "0.30")
        stopped = bench.run()
        assert stopped.code == 4, stopped.out + stopped.err
        assert stopped.status["phase"] == "Stopped"
        assert 0 < micro(bench) <= 300_000
        assert stopped.status["cost"]["spent"] == f"{micro(bench) / 1e6:.6f}"
        budgeted(bench, "5.00")
        done = bench.run()
        assert done.code == 0, done.out + done.err
        rows = [call["row"] for call in bench.billed()]
        assert len(rows) - len(set(rows)) <= 10  # the noise rows are asked twice on purpose


def test_a_budget_below_the_least_possible_bill_stops_before_any_call(tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill) as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        bench.write_job(budget={"maxCost": "0.001"})  # the prompts alone cost more
        stopped = bench.run_here()
        assert stopped.code == 4, stopped.out + stopped.err
        assert len(bench.billed()) <= 1  # the preflight call

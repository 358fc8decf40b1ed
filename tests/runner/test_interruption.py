"""However a run is ended, the same command goes on from there and comes to the same result."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

import children
from tiny_job import NONSENSE, Bench, Finished, make_bench, teacher_process

CONCURRENCY = 8
COMMIT_WINDOW_CALLS = 40  # what eight connections can start within one commit window of 100 ms on loopback
pytestmark = pytest.mark.timeout(900)


def start(bench: Bench) -> subprocess.Popen[bytes]:
    """Start the job as the leader of a process group of its own."""
    with (bench.folder / "output.log").open("ab") as log:
        return children.start(bench.command(), stdout=log, stderr=log, cwd=bench.folder)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(children.REAP_SECONDS)


def kills(bench: Bench, moments: list[float]) -> None:
    """Start the job again and again, killing its process group after so many seconds each time."""
    for moment in moments:
        process = start(bench)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            kill_group(process)


def check_recovered(bench: Bench, undisturbed: Finished, kills_made: int) -> None:
    done = bench.run()
    assert done.code == 0, done.out + done.err
    want = {stage: m.output_digest for stage, m in undisturbed.bench.manifests().items()}
    assert {stage: m.output_digest for stage, m in bench.manifests().items()} == want
    bill = bench.billed()
    bought_twice = len(bill) - undisturbed.billed
    assert bought_twice <= kills_made * (CONCURRENCY + COMMIT_WINDOW_CALLS)
    micro = sum(2 * call["prompt"] + 10 * call["completion"] for call in bill)
    cost = done.status["cost"]
    assert float(cost["spent"]) + float(cost.get("unknown") or 0) >= micro / 1e6 - 1e-9


@pytest.mark.long
def test_three_kills_leave_the_same_result(finished: Finished, tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, *NONSENSE, "--delay", "0.03") as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        kills(bench, [share * finished.seconds for share in (0.3, 0.5, 0.7)])
        check_recovered(bench, finished, 3)


@pytest.mark.soak
def test_twenty_kills_at_random_moments_leave_the_same_result(finished: Finished, tmp_path: Path) -> None:
    rng = random.Random(20)
    for round_ in range(20):
        bill = tmp_path / f"bill-{round_}.jsonl"
        with teacher_process(bill, *NONSENSE, "--delay", "0.03") as url:
            bench = make_bench(tmp_path / f"bench-{round_}", url, bill)
            moment = rng.uniform(0.5, finished.seconds)
            kills(bench, [moment])
            check_recovered(bench, finished, 1)
            print(f"kill {round_ + 1} after {moment:.1f} s: recovered, bill {len(bench.billed())} calls")


def test_one_ctrl_c_stops_cleanly_and_the_same_command_resumes(finished: Finished, tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, *NONSENSE, "--delay", "0.1") as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        process = start(bench)
        deadline = time.monotonic() + 60
        while len(bench.billed()) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130, (bench.folder / "output.log").read_text()
        done = bench.run()
        assert done.code == 0, done.out + done.err
        assert len(bench.billed()) == finished.billed
        micro = sum(2 * call["prompt"] + 10 * call["completion"] for call in bench.billed())
        assert done.status["cost"]["spent"] == f"{micro / 1e6:.6f}"

"""The command line with streams, folders and signals as users have them."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import children
from distillery.cli.run import _signals
from distillery.cli.views import JsonView
from distillery.runner.workdir import Workdir
from tiny_job import Bench, make_bench, teacher_process

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    bill = tmp_path_factory.mktemp("teacher") / "bill.jsonl"
    with teacher_process(bill, "--delay", "0.05") as url:
        yield url, bill


@pytest.fixture
def bench(teacher: tuple[str, Path], tmp_path: Path) -> Bench:
    return make_bench(tmp_path / "bench", *teacher)


def shell(bench: Bench, line: str) -> subprocess.CompletedProcess[str]:
    """Run a shell line in which `distillery` is the command."""
    prelude = f'distillery() {{ "{sys.executable}" -m distillery "$@"; }}; '
    command = ["bash", "-c", prelude + line]
    return children.run(command, capture_output=True, text=True, cwd=bench.folder, timeout=100, check=False)


def test_a_run_whose_reader_goes_away_ends_like_an_interrupted_one(bench: Bench) -> None:
    done = shell(bench, "(distillery run job.yaml --workdir work --until teacher; echo $? >&2) | head -1")
    assert done.stdout.splitlines() == ["0:00  ▸ dataset    running"]
    assert done.stderr.split() == ["130"]
    assert (bench.workdir / "logs" / "run.log").read_text() == ""


def test_a_command_started_without_standard_output_works(bench: Bench) -> None:
    done = shell(bench, "distillery plan job.yaml --workdir work >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_standard_output_is_one_message(bench: Bench) -> None:
    done = shell(bench, "distillery validate job.yaml >/dev/full")
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_planning_writes_nothing(bench: Bench) -> None:
    before = sorted(bench.folder.rglob("*"))
    done = shell(bench, "distillery plan job.yaml")
    assert done.stdout.splitlines()[0].startswith("dataset     run ")
    assert sorted(bench.folder.rglob("*")) == before


def test_looking_at_a_workdir_finds_the_uid_that_its_runs_gave_it(tmp_path: Path) -> None:
    uid = Workdir(tmp_path / "work").uid
    assert Workdir(tmp_path / "work", create=False).uid == uid


def test_a_damaged_status_is_named_with_its_repair(bench: Bench) -> None:
    bench.workdir.mkdir()
    (bench.workdir / "status.yaml").write_text("phase: 7\n")
    done = shell(bench, "distillery status work")
    message = "error: work/status.yaml: is damaged → delete it: the next run writes it anew\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_a_pending_review_is_named_among_the_exit_statuses(bench: Bench) -> None:
    done = shell(bench, "distillery run --help")
    assert "4 stopped by budget or pilot, or waiting for a review, 130 interrupted" in " ".join(
        done.stdout.split()
    )


def test_leftovers_younger_than_nothing_cannot_be_pruned(bench: Bench) -> None:
    done = shell(bench, "distillery prune job.yaml --older-than -1")
    assert done.returncode == 2


def test_a_signal_that_is_ignored_from_the_start_stays_ignored() -> None:
    """A shell starts `distillery run … &` without SIGINT, so that Ctrl-C for another command spares it."""
    run, before = SimpleNamespace(stop=False), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with _signals(run, JsonView(io.StringIO())):  # type: ignore[arg-type]
            signal.raise_signal(signal.SIGINT)
            assert not run.stop
            signal.raise_signal(signal.SIGTERM)
            assert run.stop
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_status_of_an_interrupted_run_says_so(bench: Bench) -> None:
    command = bench.command("--until", "teacher")
    with children.running(command, stdout=subprocess.PIPE, text=True, cwd=bench.folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"stage": "teacher"' in line:
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
        assert process.wait(children.PATIENCE) == 130
    done = shell(bench, "distillery status work")
    assert done.stdout.splitlines()[0] == "Suspended: interrupted; the same command resumes"
    assert "running" not in done.stdout

"""What every verb does where its output cannot be written: one message and an exit status, never Python's own noise.

The command runs as a newcomer's does, without anything of a developer's environment (PYTHONUNBUFFERED above all).
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.api.dumping import dump_yaml
from distillery.artifacts import layout
from tiny_job import Bench, make_bench, manifest, teacher_process

FULL = (1, "error: No space left on device\n")
REVIEW = {"name": "filter", "state": "Running", "attempt": 1, "identity": "ab" * 32}
STATUS = {"observedGeneration": 1, "phase": "AwaitingReview", "stages": [REVIEW]}
WORK = {"phase": "Running", "stages": [{"name": "dataset", "state": "Running", "attempt": 1}]}

HELP = ["", "--help", "--version", "validate --help"]
LOCAL = [
    *("validate job.yaml", "validate job.yaml -o json"),
    *("plan job.yaml", "plan job.yaml -o json"),
    *("estimate job.yaml", "estimate job.yaml -o json"),
    *("status work", "status work -o json", "status work -o yaml"),
    pytest.param("run job.yaml --workdir new --until dataset -o json", marks=pytest.mark.long),
]
REMOTE = [
    "submit remote.yaml",
    "status tiny",
    "status tiny --watch",
    "logs tiny",
    "cost tiny",
    "suspend tiny",
]
ALIKE = [
    *(
        "submit remote.yaml -o json",
        "submit remote.yaml --dry-run",
        "status tiny -o json",
        "cost tiny -o json",
    ),
    *("logs tiny -f", "resume tiny", "cancel tiny", "retry tiny", "rerun tiny teacher", "approve tiny"),
]
"""What shares its way of printing with one of the others."""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    bill = tmp_path_factory.mktemp("teacher") / "bill.jsonl"
    with teacher_process(bill) as url:
        yield url, bill


@pytest.fixture
def bench(teacher: tuple[str, Path], tmp_path: Path) -> Bench:
    bench = make_bench(tmp_path / "a bench", *teacher)
    (bench.folder / "work").mkdir()
    (bench.folder / "work/status.yaml").write_text(dump_yaml(WORK))
    return bench


@pytest.fixture
def remote(cluster: Any, bench: Bench) -> Any:
    cluster.job(status=STATUS)
    cluster.pod("a", lines=["one", "two"], stage="teacher", attempt="1", job_uid="tiny-uid")
    job = manifest("http://teacher.test/v1", Path("/data/tickets.jsonl"), storage={"uri": "s3://models/tiny"})
    job["spec"]["dataset"]["sources"] = [{"uri": "s3://logs/tickets.jsonl"}]
    (bench.folder / "remote.yaml").write_text(dump_yaml(job))
    return cluster


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `distillery` is the command, in a bare environment."""
    prelude = f'distillery() {{ {shlex.quote(sys.executable)} -m distillery "$@"; }}; '
    bare = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return children.run(["bash", "-c", prelude + line], capture_output=True, text=True, cwd=folder, env=bare)


def ended(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", HELP + LOCAL)
def test_a_full_disk_behind_standard_output_is_one_message(arguments: str, bench: Bench) -> None:
    done = shell(bench.folder, f"distillery {arguments} >/dev/full")
    if arguments == "":
        assert done.returncode == 2  # no verb is a mistake of its own
        return
    assert ended(done) == FULL


def test_a_full_disk_while_pruning_is_one_message(bench: Bench) -> None:
    left = bench.folder / "store" / layout.writer("dataset", "ab" * 32, "cd" * 8)
    left.mkdir(parents=True)
    (left / "rows.parquet").write_text("x")
    done = shell(bench.folder, "distillery prune job.yaml --older-than 0 >/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == ["error: No space left on device"]
    assert done.stderr.startswith("1 objects removed from ")


@pytest.mark.parametrize(
    "arguments", [*REMOTE, *(pytest.param(line, marks=pytest.mark.long) for line in ALIKE)]
)
def test_a_full_disk_is_one_message_of_every_verb_on_a_cluster(
    arguments: str, bench: Bench, remote: Any
) -> None:
    done = shell(bench.folder, f"distillery {arguments} --kubeconfig {remote.kubeconfig} >/dev/full")
    notes = [line for line in done.stderr.splitlines(keepends=True) if line.startswith("note: ")]
    assert (done.returncode, done.stderr.removeprefix("".join(notes))) == FULL


@pytest.mark.parametrize("arguments", ["--help", "validate job.yaml", "status work"])
def test_a_reader_that_has_gone_away_is_no_message(arguments: str, bench: Bench) -> None:
    line = (
        f"(sleep 0.2; distillery {arguments}; echo $? >&2) | true"  # the reader is gone before a word is said
    )
    assert ended(shell(bench.folder, line)) == (0, "1\n")


@pytest.mark.parametrize("arguments", ["logs tiny", "status tiny"])
def test_a_reader_that_has_gone_away_is_no_message_of_a_verb_on_a_cluster(
    arguments: str, bench: Bench, remote: Any
) -> None:
    line = f"(sleep 0.2; distillery {arguments} --kubeconfig {remote.kubeconfig}; echo $? >&2) | true"
    assert ended(shell(bench.folder, line)) == (0, "1\n")


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/null 2>/dev/full"])
def test_a_command_without_its_streams_ends_as_it_would_with_them(streams: str, bench: Bench) -> None:
    assert ended(shell(bench.folder, f"distillery status work {streams}")) == (0, "")


@pytest.mark.parametrize("streams", ["2>/dev/full", "2>&-", ">&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_mistake_keeps_its_exit_status_where_its_message_is_lost(streams: str, bench: Bench) -> None:
    bench.job.write_text("kind: DistillationJob\n")
    done = shell(bench.folder, f"distillery validate job.yaml {streams}")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")
    assert shell(bench.folder, f"distillery nonsense {streams}").returncode == 2


def test_a_message_is_never_written_to_standard_output_for_want_of_another_place(bench: Bench) -> None:
    bench.write_job(teacher={**bench.manifest()["spec"]["teacher"], "pricing": None}, budget={})
    done = shell(bench.folder, "distillery estimate job.yaml 2>&-")
    assert (done.returncode, done.stdout) == (0, "250 answers wanted, 0 already bought, 250 to buy\n")


def test_a_file_that_is_opened_does_not_become_standard_output(bench: Bench) -> None:
    """With standard output closed, the next file gets its number, and a child's or library's words would get in."""
    words = "import os, sys, distillery.cli as c; sys.argv[1:] = ['--version']\n"
    words += "try: c.main()\nexcept SystemExit: os.write(1, b'stray'); os.open('a file', os.O_RDONLY | os.O_CREAT)\n"
    words += (
        "sys.exit(0 if os.get_inheritable(1) and os.fstat(1).st_rdev == os.stat(os.devnull).st_rdev else 9)"
    )
    done = shell(bench.folder, f"{shlex.quote(sys.executable)} -c {shlex.quote(words)} >&-")
    assert ended(done) == (0, "")


def test_a_request_is_made_even_if_its_note_is_lost(bench: Bench, remote: Any) -> None:
    remote.job(status={**STATUS, "phase": "Succeeded"})
    done = shell(bench.folder, f"distillery suspend tiny --kubeconfig {remote.kubeconfig} 2>/dev/full")
    assert done.returncode == 0
    assert [method for method, *_ in remote.asked].count("PATCH") == 1


def test_a_name_that_the_terminal_cannot_show_is_shown_escaped(bench: Bench) -> None:
    os.link(os.fsencode(bench.job), os.fsencode(bench.folder) + b"/job\xff.yaml")
    done = shell(bench.folder, r"LC_ALL=C.UTF-8 distillery validate $'job\xff.yaml'")
    assert (done.returncode, done.stdout) == (0, "job\\udcff.yaml: DistillationJob tiny is valid\n")
    ascii = shell(bench.folder, "PYTHONIOENCODING=ascii distillery status work")
    assert (ascii.returncode, ascii.stdout.splitlines()[2].split()) == (0, ["\\u25b8", "dataset", "running"])


def test_a_run_whose_output_is_lost_stops_at_a_safe_point(bench: Bench) -> None:
    done = shell(bench.folder, "distillery run job.yaml --until teacher >/dev/full")
    assert ended(done) == FULL
    status = shell(bench.folder, "distillery status .distillery/tiny").stdout.splitlines()[0]
    assert status == "Suspended: interrupted; the same command resumes"

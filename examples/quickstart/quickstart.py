"""Distils a ticket router on this machine: starts the teacher, writes tickets, runs the job, and sums it up.

Needs neither key nor GPU nor network. What it does is `distillery run` with two values filled in; a second run
finds everything done.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import tickets
import weights

HERE = Path(__file__).resolve().parent
COMPLETE, GATES_FAILED, INTERRUPTED = 0, 3, 130
START_SECONDS = 60.0


class QuickstartError(Exception):
    """Why there is nothing to run."""


@contextmanager
def teacher(log: Path) -> Iterator[str]:
    """Run the teacher in a process of its own and yield its base URL. Raises: QuickstartError."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, str(HERE / "teacher.py"), "--until-stdin-ends"]
    with log.open("wb") as errors:
        # A session of its own keeps Ctrl-C from it: the job still needs answers to stop cleanly. Its standard input
        # ends with this process, however that dies, so no teacher is ever left behind.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
    try:
        yield _first_line(process, log)
    finally:
        _stop(process)


def _first_line(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line:
        raise QuickstartError(f"the teacher did not start, see {log}")
    return line


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def run_job(command: Sequence[str]) -> int:
    """Run the command and return its exit status; signals are its own affair."""
    process = subprocess.Popen(command)

    def forward(signum: int, frame: FrameType | None) -> None:
        process.send_signal(signum)

    # The terminal sends Ctrl-C to the job as well, which then stops at a safe point: wait for it.
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, forward)
    try:
        return process.wait()
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def closing_table(folder: Path, seconds: float) -> str:
    """Return what came out, from the status that the run has left in its workdir."""
    from distillery.runner.workdir import read_status

    status = read_status(folder)
    if status is None or status.evaluation is None:
        raise QuickstartError(f"{folder} holds no evaluation")
    summaries = {stage.name: stage.summary for stage in status.stages}
    rows = [
        ("verdict", str(status.evaluation.verdict)),
        ("retention", _retention(status.evaluation.retention, status.evaluation.interval)),
        *_figures(summaries["student"], summaries["evaluation"]),
        ("near-duplicates", f"{summaries['dataset']['duplicates']} tickets left out"),
        ("filter dropped", _dropped(summaries["filter"])),
        ("time", f"{seconds:.0f} s"),
        ("report", str(folder / "report.html")),
    ]
    return "\n".join(f"{name:<17}{text}" for name, text in rows)


def _retention(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "unknown"
    bounds = f" [{interval[0]:.1%}, {interval[1]:.1%}]" if interval else ""
    return f"{value:.1%}{bounds} of the teacher's accuracy"


def _figures(student: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return agreement, latency, size and cost; the teacher answers over HTTP, the student in process."""
    return [
        ("agreement", f"{evaluation['agreement']:.1%} of {evaluation['rows']} test rows"),
        ("latency, p50", f"teacher {evaluation['teacherP50Ms']:.1f} ms over HTTP, "
                         f"student {evaluation['studentP50Ms']:.1f} ms in process"),
        ("size", f"teacher {_size(weights.PARAMETERS, weights.SIZE_BYTES)}, "
                 f"student {_size(student['parameters'], student['sizeBytes'])}"),
        ("cost per 1,000", f"teacher {evaluation['teacherCostPerThousand']} USD at the example prices, "
                           "student only the machine it runs on"),
    ]  # fmt: skip


def _dropped(kept: Mapping[str, Any]) -> str:
    """Return how many answers each rule rejected."""
    by_rule = [
        f"{name.removeprefix('rejectedBy').lower()} {rows}"
        for name, rows in kept.items()
        if name.startswith("rejectedBy")
    ]
    return f"{', '.join(by_rule) or 'nothing'} of {kept['asked']} answers"


def _size(parameters: int, size_bytes: int) -> str:
    return f"{parameters / 1e6:.1f} M parameters, {size_bytes / 1e6:.1f} MB"


def main() -> int:
    """Command line. Exit status of `distillery run`, or 1 if it could not be started."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path(".distillery/ticket-routing"))
    parser.add_argument("--rows", type=int, default=tickets.ROWS, help="tickets before de-duplication")
    parser.add_argument("--seed", type=int, default=1, help="of the tickets")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="passed to distillery run"
    )
    options = parser.parse_args()
    try:
        return quickstart(options.workdir.absolute(), options.rows, options.seed, options.set)
    except (QuickstartError, weights.WeightsUnavailable) as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def quickstart(folder: Path, rows: int, seed: int, overrides: Sequence[str]) -> int:
    """Run everything and return the exit status of the job. Raises: QuickstartError, WeightsUnavailable."""
    began = time.monotonic()
    weights.find_model()
    folder.mkdir(parents=True, exist_ok=True)
    with teacher(folder / "teacher.log") as url:
        # The teacher loads its weights meanwhile; calls wait until it is ready.
        source = folder / "tickets.jsonl"
        tickets.write(source, rows, seed)
        changes = [
            f"spec.dataset.sources[0].uri=file://{source}",
            f"spec.teacher.endpoint.url={url}",
            *overrides,
        ]
        command = [
            sys.executable,
            "-m",
            "distillery",
            "run",
            str(HERE / "job.yaml"),
            "--workdir",
            str(folder),
        ]
        code = run_job([*command, *(word for change in changes for word in ("--set", change))])
    if code in (COMPLETE, GATES_FAILED):
        print(f"\n{closing_table(folder, time.monotonic() - began)}")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Processes that tests start: with the dispositions of a terminal, in a group of their own, ended with their test.

Tests may run where signals are ignored (`nohup make test &`, some CI runners), and a child would inherit that: it would
never hear the SIGINT that its test sends. And a test that fails in the middle must not leave children behind, nor wait
for them: every wait here has an end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

PATIENCE = 100.0
"""Seconds that a child gets where its test says nothing else; below pytest's own timeout."""
REAP_SECONDS = 10.0
HEARD = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)

_started: list[subprocess.Popen[Any]] = []


def start(command: Sequence[Any], **options: Any) -> subprocess.Popen[Any]:
    """Start a process as `subprocess.Popen` does; what is left of its group ends with the test."""
    options.setdefault("start_new_session", True)
    with _as_from_a_terminal():
        process = subprocess.Popen(command, **options)
    _started.append(process)
    return process


@contextmanager
def running(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a process that ends with this block, if it has not ended by then."""
    process = start(command, **options)
    try:
        yield process
    finally:
        end(process)


def run(
    command: Sequence[Any],
    *,
    input: Any = None,
    capture_output: bool = False,
    timeout: float = PATIENCE,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a process to its end as `subprocess.run` does. Raises: TimeoutExpired, CalledProcessError."""
    if capture_output:
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if input is not None:
        options["stdin"] = subprocess.PIPE
    with running(command, **options) as process:
        out, err = process.communicate(input, timeout)
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def end(process: subprocess.Popen[Any]) -> None:
    """Kill what is left of a process and its group, and let go of its pipes."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: no permission where all are zombies
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        process.kill()  # of a process that was started without a group of its own
    process.wait(REAP_SECONDS)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):  # what was not yet written cannot be any more
                pipe.close()
    if process in _started:
        _started.remove(process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """For conftests: end what a test has started, however it comes out; the children of fixtures were there before."""
    before = list(_started)
    try:
        return (yield)
    finally:
        for process in [process for process in _started if process not in before]:
            end(process)


@contextmanager
def _as_from_a_terminal() -> Iterator[None]:
    """Heed the signals for a moment: a child inherits what is ignored, and what is handled becomes its default.

    Only the main thread may; what another starts is no test's to interrupt.
    """
    mine = threading.current_thread() is threading.main_thread()
    ignored = [number for number in HEARD if mine and signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

"""Standard output and error of the operator's and the worker's processes, which end as they decide."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

import children

LOST = [">/dev/full", ">&- 2>&-", "2>/dev/full"]


def ended(program: str, streams: str) -> tuple[int, str]:
    """Run a module, or a piece of Python, in a bare environment with these streams."""
    how = f"-m {program}" if program.startswith("distillery.") else f"-c {shlex.quote(program)}"
    line = f"{shlex.quote(sys.executable)} {how} {streams}; exit ${{PIPESTATUS[0]}}"
    bare = {"PATH": os.environ["PATH"], "DISTILLERY_ASSIGNMENT": "/nowhere"}
    done = children.run(
        ["bash", "-c", line], env=bare, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("streams", LOST)
@pytest.mark.parametrize("program", ["distillery.worker", "distillery.controller"])
def test_a_process_keeps_its_exit_status_whatever_its_streams_are(program: str, streams: str) -> None:
    """No assignment, no cluster: both end with 2."""
    code, err = ended(program, streams)
    assert code == 2
    assert "Exception ignored" not in err
    assert "Traceback" not in err


LEAVES = "import distillery.worker.process as p; print('a library says something'); p.leave_at_once()"


@pytest.mark.parametrize("streams", [">/dev/full", "| true"])
def test_a_superseded_worker_says_so_even_if_a_library_s_words_cannot_be_written(streams: str) -> None:
    assert ended(LEAVES, streams) == (3, "")


RUNS = """
import runpy, sys
print('a library says something')
runpy.run_module('distillery.worker', run_name='__main__')
"""


def test_a_worker_keeps_its_exit_status_even_if_a_library_s_words_cannot_be_written() -> None:
    code, err = ended(RUNS, ">/dev/full")
    assert code == 2
    assert "Exception ignored" not in err

"""Children of tests hear signals, end with their test, and are never waited for without an end."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import children

ROOT = Path(__file__).parents[1]
SIGNALS = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")
DISPOSITIONS = (
    f"import signal; print([n for n in {SIGNALS} if signal.getsignal(getattr(signal, n)) is signal.SIG_IGN])"
)
FAMILY = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); input()"


@pytest.fixture
def deaf() -> Iterator[None]:
    """This process as it is under `nohup … &`, and worse."""
    before = {name: signal.signal(getattr(signal, name), signal.SIG_IGN) for name in SIGNALS}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.usefixtures("deaf")
def test_a_child_hears_what_its_test_was_told_to_ignore() -> None:
    done = children.run([sys.executable, "-c", DISPOSITIONS], capture_output=True, text=True)
    assert done.stdout == "[]\n"
    assert {signal.getsignal(getattr(signal, name)) for name in SIGNALS} == {signal.SIG_IGN}


def test_what_a_failed_test_has_started_ends_with_all_its_descendants() -> None:
    call = children.pytest_runtest_call(item=None)  # type: ignore[arg-type]
    next(call)
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = children.start([sys.executable, "-c", FAMILY], **options)
    assert process.stdout is not None
    grandchild = int(process.stdout.readline())
    with pytest.raises(ZeroDivisionError):
        call.throw(ZeroDivisionError())
    assert process.returncode == -signal.SIGKILL
    assert process.stdout.closed
    assert is_gone(grandchild)


def test_a_child_of_a_wider_fixture_outlives_the_test() -> None:
    with children.running(["sleep", "600"]) as wider:
        call = children.pytest_runtest_call(item=None)  # type: ignore[arg-type]
        next(call)
        with pytest.raises(StopIteration):
            next(call)
        assert wider.poll() is None
    assert wider.returncode == -signal.SIGKILL


def test_a_child_that_does_not_end_in_time_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        children.run(["sleep", "600"], timeout=0.1)


def is_gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # nobody reaps orphans in some containers
        time.sleep(0.05)
    return False


STARTERS = {"run", "Popen", "call", "check_call", "check_output"}
WAITS = {"wait", "communicate", "join"}


def offences(source: str) -> list[str]:
    """Return the calls that start a process by hand, or wait without an end."""
    tree = ast.parse(source)
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner, name = ast.unparse(node.func.value), node.func.attr
        by_hand = owner == "subprocess" and name in STARTERS
        endless = name in WAITS and not node.args and not node.keywords and id(node) not in awaited
        if by_hand or endless:
            found.append(f"{node.lineno}: {ast.unparse(node)[:60]}")
    return found


@pytest.mark.parametrize("folder", ["tests", "e2e/apiserver", "e2e/stories"])
def test_processes_are_started_and_waited_for_in_one_way(folder: str) -> None:
    """Use `children`: a plain subprocess inherits ignored signals, and its end is waited for even after a timeout."""
    files = [path for path in sorted((ROOT / folder).rglob("*.py")) if path.name != "children.py"]
    found = {str(path.relative_to(ROOT)): offences(path.read_text()) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_the_check_notices_what_it_should() -> None:
    bad = "subprocess.run(['a'])\nprocess.wait()\nprocess.communicate()\nthread.join()\n"
    assert len(offences(bad)) == 4
    good = "process.wait(3)\n', '.join(x)\nasync def f():\n    await event.wait()\nprocess.communicate(timeout=1)\n"
    assert offences(good) == []

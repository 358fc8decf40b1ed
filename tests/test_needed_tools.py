"""Tests that need tools are left out and named where these are missing, and fail where they are required."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

import children
from needed_tools import TOOLS, summary

ROOT = Path(__file__).parents[1]
CASE = """
import pytest

@pytest.mark.needs_tools("helm")
def test_a(): ...

@pytest.mark.needs_tools("KubeRay's CRD")
@pytest.mark.parametrize("number", [1, 2])
def test_b(number): ...

def test_c(): ...
"""
LINE = "3 tests need KubeRay's CRD and helm: `make test-tools` builds what is missing (with Go) and runs them"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small one on a newcomer's machine."""
    folder = tmp_path / "check out"
    (folder / "tests").mkdir(parents=True)
    for name in ("conftest.py", "needed_tools.py", "children.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "tests/test_some.py").write_text(CASE)
    return folder


def ran(checkout: Path, *arguments: str) -> tuple[int, list[str]]:
    bare = {"PATH": os.path.dirname(sys.executable), "HOME": str(checkout)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = children.run(command, capture_output=True, text=True, cwd=checkout, env=bare)
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_is_left_out_is_named_in_one_line_with_what_would_run_it(checkout: Path, workers: str) -> None:
    code, lines = ran(checkout, "-n", workers)
    assert code == 0
    assert [line for line in lines if "helm" in line or "KubeRay" in line] == [LINE]
    assert "1 passed, 3 left out for want of tools" in lines[-1]


def test_what_is_required_fails(checkout: Path) -> None:
    code, lines = ran(checkout, "-m", "needs_tools", "--require-tools")
    assert code == 1
    assert "3 errors" in lines[-1]
    assert any("needs helm" in line for line in lines)


def test_nothing_is_said_where_nothing_is_left_out() -> None:
    assert summary([]) == ""
    assert summary(["needs helm"]).startswith("1 tests need helm: ")


def test_every_tool_has_a_place() -> None:
    assert set(TOOLS) == {"helm", "KubeRay's CRD"}

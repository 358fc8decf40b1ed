"""Programs and files that some tests need and no Python package brings: where they are, and what is said without them.

A test marked `needs_tools("helm")` is left out where helm is missing; one line at the end says so and what would help.
With `--require-tools` (as `make test-tools`, which builds them) it fails instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

MARKER = "needs_tools"
CATEGORY = "left out for want of tools"
REPAIR = "`make test-tools` builds what is missing (with Go) and runs them"
RAYJOBS = "config/crd/bases/ray.io_rayjobs.yaml"


@cache
def helm() -> Path | None:
    """Return helm from $HELM, from PATH, or from where the end-to-end tests keep their programs."""
    candidates = [os.environ.get("HELM"), shutil.which("helm"), *map(str, _kept("bin/helm-v3*/helm"))]
    return next((Path(path) for path in candidates if path and Path(path).is_file()), None)


@cache
def kuberay_crd() -> Path | None:
    """Return KubeRay's CustomResourceDefinition of a RayJob from that cache, or from that of Go modules."""
    modules = Path.home() / "go/pkg/mod/github.com/ray-project/kuberay"
    fetched = sorted(modules.glob(f"ray-operator@*/{RAYJOBS}"), reverse=True)
    return next(iter([*_kept(f"bin/kuberay-*/{RAYJOBS}"), *fetched]), None)


TOOLS: dict[str, Callable[[], Path | None]] = {"helm": helm, "KubeRay's CRD": kuberay_crd}


def _kept(pattern: str) -> list[Path]:
    """Return what is in the cache of the end-to-end tests, the newest first."""
    kept = Path(os.environ.get("DISTILLERY_CACHE") or "~/.cache/distillery").expanduser()
    return sorted(kept.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run insist on the tools."""
    parser.addoption("--require-tools", action="store_true", help="fail where a needed tool is missing")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a test out, or fail it, if what it needs is not there."""
    needed = {name for mark in item.iter_markers(MARKER) for name in mark.args}
    if missing := sorted(name for name in needed if TOOLS[name]() is None):
        tell = pytest.fail if item.config.getoption("--require-tools") else pytest.skip
        tell(f"needs {' and '.join(missing)}")


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Count what is left out on its own, apart from tests that skip themselves."""
    if report.skipped and MARKER in report.keywords:
        return CATEGORY, "t", "NEEDS TOOLS"
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out, and what would run it."""
    left_out = terminalreporter.stats.get(CATEGORY, [])
    if line := summary([report.longrepr[2] for report in left_out]):
        terminalreporter.write_line(line, yellow=True)


def summary(reasons: list[str]) -> str:
    """Return the line about tests that were left out for these reasons; empty if none was."""
    missing = sorted({name for name in TOOLS if any(name in reason for reason in reasons)})
    return f"{len(reasons)} tests need {' and '.join(missing)}: {REPAIR}" if reasons else ""

"""The operator's benchmark in small: the limits that do not depend on the number of jobs are kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kube.apiserver import ROOT

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]


def test_the_benchmark_of_the_operator_keeps_its_limits_with_few_jobs() -> None:
    command = [sys.executable, ROOT / "bench" / "operator.py", "--jobs", "20", "--idle", "30"]
    done = subprocess.run([*command, "--idle-seconds", "5"], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "EXCEEDED" not in done.stdout
    assert "writes per finished job" in done.stdout

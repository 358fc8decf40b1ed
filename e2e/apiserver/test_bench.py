"""The operator's benchmark in small: it runs to its end, and whatever limit is no matter of time is kept."""

from __future__ import annotations

import sys

import pytest

import children
from kube.apiserver import ROOT

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]

TIMED = ("CPU", "share of a core", "both")
"""Figures of a busy machine say nothing; `make bench-operator` judges them."""


def test_the_benchmark_of_the_operator_keeps_its_limits_with_few_jobs() -> None:
    command = [sys.executable, ROOT / "bench" / "operator.py", "--jobs", "20", "--idle", "30"]
    done = children.run([*command, "--idle-seconds", "5"], capture_output=True, text=True, timeout=580)
    table = [line.strip() for line in done.stdout.splitlines()]
    exceeded = [line for line in table if line.endswith("EXCEEDED") and not line.startswith(TIMED)]
    assert exceeded == [], done.stdout + done.stderr
    assert any(line.startswith("writes per finished job") for line in table), done.stdout + done.stderr
    assert any(line.startswith("share of a core") for line in table), done.stdout + done.stderr

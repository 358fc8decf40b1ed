"""The quickstart over several seeds stays in the range that its README states."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import quickstart

import children
from distillery.runner.workdir import read_status

AGREEMENT = 0.87
RETENTION = 0.97
SEEDS = (1, 2, 3, 4, 5)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_the_quickstart_releases_a_student_within_the_stated_range(tmp_path, seed):
    began = time.monotonic()
    command = [
        sys.executable,
        str(Path(quickstart.__file__)),
        "--workdir",
        str(tmp_path),
        "--seed",
        str(seed),
    ]
    done = children.run(command, timeout=1800, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    status = read_status(tmp_path)
    evaluation = next(stage.summary for stage in status.stages if stage.name == "evaluation")
    print(f"\nseed {seed}: {time.monotonic() - began:.0f} s, {evaluation}")
    assert status.release is not None
    assert evaluation["agreement"] >= AGREEMENT
    assert evaluation["retention"] >= RETENTION

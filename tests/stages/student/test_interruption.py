"""Long repetitions: real kills and a real cluster; the short forms are in test_training and test_driver."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import children
from distillery.errors import StageFailed, StageStopped
from distillery.stages.student import driver
from distillery.stages.student.checkpoints import Checkpoints
from distillery.stages.student.result import output_digest
from stages.student.conftest import IDENTITY, make_rows, make_work
from stages.student.test_driver import Attempt
from stages.student.test_training import finish

KILLS = 8
TRAIN = """
import pathlib, sys
sys.path[:0] = {path!r}
from stages.student import conftest
from distillery.stages.student.training import Hooks
from distillery.stages.student.work import train
print("ready", flush=True)
folder = pathlib.Path({folder!r})
train(conftest.make_work(folder, conftest.make_rows(192, 24), epochs=8), conftest.Seen().hooks(), print)
"""


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_kill_minus_nine_at_any_moment_gives_the_same_student(tmp_path: Path) -> None:
    want = output_digest(finish(make_work(tmp_path / "whole", make_rows(192, 24), epochs=8)))
    folder, rng = tmp_path / "killed", random.Random(7)
    code = TRAIN.format(path=[entry for entry in sys.path if entry], folder=str(folder))
    for _ in range(KILLS):
        with children.running([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.0, 6.0))
    assert output_digest(finish(make_work(folder, make_rows(192, 24), epochs=8))) == want


@pytest.fixture
def ray_off_afterwards() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data's, about its own settings
@pytest.mark.usefixtures("ray_off_afterwards")
def test_a_ray_worker_stops_fails_and_resumes_as_this_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(192, 24)
    want = driver.run(Attempt(make_work(tmp_path / "a", rows, epochs=30), tmp_path / "a").context)
    monkeypatch.setattr(driver, "IN_PROCESS_PARAMETERS", 0)
    work = make_work(tmp_path / "b", rows, epochs=30)
    with pytest.raises(StageStopped):
        driver.run(Attempt(work, tmp_path / "b" / "1", stop_after=10).context)
    newest = Checkpoints(work.store, IDENTITY, tmp_path / "reader").newest()
    assert newest is not None
    assert 10 <= newest.step < 720
    resumed = driver.run(Attempt(work, tmp_path / "b" / "2").context)
    assert resumed.output_digest == want.output_digest
    without = make_work(tmp_path / "c", [row | {"soft": None} for row in make_rows()])
    with pytest.raises(StageFailed) as caught:
        driver.run(Attempt(without, tmp_path / "c").context)
    assert caught.value.reason == "NoSoftLabels"

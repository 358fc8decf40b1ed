"""Workers of other releases: the first release's own code refuses what it would misread, and today's says so."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure
from distillery.stages.versions import NEWEST
from worker_bench import RECORD, REPORTS, Operator

pytestmark = pytest.mark.timeout(200)

FIRST = "5a4633b"
ROOT = Path(__file__).parents[2]


class Newer(Operator):
    """An operator whose assignments have another version."""

    version: int = NEWEST + 1

    def assignment(self, stage: Any, attempt: int = 1) -> Assignment:
        return super().assignment(stage, attempt).model_copy(update={"version": self.version})


def of_version(operator: Operator, version: int) -> Newer:
    newer = Newer(operator.bench, operator.api, operator.heartbeat, operator.environment)
    newer.version = version
    return newer


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first release's package, out of the history."""
    archive = children.run(
        ["git", "-C", ROOT, "archive", FIRST, "operator"], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history does not hold {FIRST}: a shallow clone, or no git")
    folder = tmp_path_factory.mktemp("first-release")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder / "operator"


def test_the_first_workers_refuse_a_second_version_before_any_call(
    operator: Operator, first_release: Path
) -> None:
    operator.environment["PYTHONPATH"] = str(first_release)
    newer = of_version(operator, 2)
    ended = newer.wait(newer.start("dataset"))
    assert ended.code == 2, ended.log
    assert "the assignment has version 2: use a newer worker image" in ended.log
    assert operator.bench.billed() == []
    assert operator.api.maps == {RECORD: {}, REPORTS: {}}
    assert (operator.api.written, operator.api.refused) == ([], [])
    assert not operator.bench.store.root.exists() or list(operator.bench.store.list("")) == []


def test_the_first_workers_do_the_work_of_the_first_version(operator: Operator, first_release: Path) -> None:
    operator.environment["PYTHONPATH"] = str(first_release)
    ended = operator.run("dataset")
    assert ended.code == 0, ended.log
    assert operator.last("dataset").state == "succeeded"
    assert json.loads((operator.bench.folder / "assignment-dataset-1.json").read_text())["version"] == 1


def test_a_worker_that_is_too_old_says_so_in_its_report_and_does_nothing(operator: Operator) -> None:
    newer = of_version(operator, NEWEST + 6)
    ended = newer.wait(newer.start("dataset"))
    assert ended.code == 2, ended.log
    last = operator.last("dataset")
    message = (
        f"the assignment has version {NEWEST + 6}, this worker, of release 0.1.0, reads version {NEWEST} at most:"
        " use a newer worker image"
    )
    assert (last.state, last.failure) == (
        "failed",
        Failure(failure_class="user", reason="WorkerTooOld", message=message),
    )
    assert message in ended.log
    assert operator.bench.billed() == []
    assert list(operator.bench.store.list("artifacts/")) == []


def test_a_newer_assignment_that_cannot_even_be_read_is_refused_for_its_version(
    operator: Operator, tmp_path: Path
) -> None:
    file = tmp_path / "assignment.json"
    file.write_text(json.dumps({"version": 9, "run": "of another form"}))
    newer = of_version(operator, 9)
    newer.environment["DISTILLERY_ASSIGNMENT"] = str(file)
    ended = newer.wait(newer.start("dataset"))
    assert ended.code == 2, ended.log
    assert "the assignment has version 9, this worker, of release 0.1.0, reads version" in ended.log
    assert operator.api.written == []

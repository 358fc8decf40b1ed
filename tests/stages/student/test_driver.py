from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from distillery.artifacts.artifact import Artifact, ArtifactWriter
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import SpecError, StageFailed, StageStopped
from distillery.modeling.student_model import StudentModel
from distillery.stages.context import StageContext
from distillery.stages.report import Progress
from distillery.stages.stage import StageRun
from distillery.stages.student import driver
from distillery.stages.student.checkpoints import Checkpoints
from distillery.stages.student.result import output_digest
from distillery.stages.student.work import Work
from stages.student.conftest import IDENTITY, make_rows, make_work


class Secrets:
    def get(self, name: str, key: str) -> str:
        raise AssertionError(name)

    def optional(self, name: str, key: str) -> str | None:
        return None


class Attempt:
    """One attempt of the stage over some work; remembers progress and warnings."""

    def __init__(self, work: Work, folder: Path, stop_after: int | None = None) -> None:
        self.progress: list[Progress] = []
        self.warnings: list[str] = []
        self._stop_after = stop_after
        run = StageRun(
            stage="student",
            recipe="recipe",
            params=work.params.model_dump(mode="json", by_alias=True),
            consumes=["filter"],
            spec_digest="spec",
            job_name="job",
            job_uid="uid",
        )
        self.context = StageContext(
            run=run,
            identity=IDENTITY,
            attempt=1,
            store=work.store,
            inputs={"filter": Artifact(work.store, work.kept, folder / "cache")},
            output=ArtifactWriter(work.store, "student", IDENTITY, folder / "output"),
            scratch=work.scratch,
            secrets=Secrets(),
            progress=self.progress.append,
            stop_requested=lambda: stop_after is not None and self.steps >= stop_after,
            now=lambda: 0.0,
            open_source=lambda uri, *_: DirectoryStore(Path(uri.removeprefix("file://"))),
            warn=self.warnings.append,
        )

    @property
    def steps(self) -> int:
        return self.progress[-1].done if self.progress else 0


@pytest.fixture
def no_ray() -> Iterator[None]:
    assert not ray.is_initialized()
    yield
    assert not ray.is_initialized()


def test_a_small_student_is_trained_without_starting_ray(tmp_path: Path, no_ray: None) -> None:
    attempt = Attempt(make_work(tmp_path), tmp_path)
    result = driver.run(attempt.context)
    folder = attempt.context.output.folder
    document = json.loads((folder / "training.json").read_text())
    assert result.output_digest == output_digest(folder)
    assert result.counts == {"train": 48, "validation": 12, "tooLong": 0}
    assert result.summary == {
        "parameters": document["model"]["parameters"],
        "sizeBytes": document["model"]["sizeBytes"],
        "steps": 18,
        "bestStep": document["steps"]["best"],
        "stoppedEarly": False,
        "softCoverage": 1.0,
        "validationLoss": round(document["best"]["loss"], 6),
        "agreement": round(document["best"]["agreement"], 4),
    }
    assert result.cost.spent_micro == 0
    assert StudentModel.load(folder / "model").parameters == document["model"]["parameters"]
    assert attempt.steps >= 1
    assert attempt.progress[0].total == 18


def test_an_attempt_after_the_training_only_publishes(tmp_path: Path, no_ray: None) -> None:
    work = make_work(tmp_path, epochs=1)
    first, second = Attempt(work, tmp_path / "1"), Attempt(work, tmp_path / "2")
    assert driver.run(first.context).output_digest == driver.run(second.context).output_digest
    assert second.progress == []


def test_a_stopped_stage_continues_where_it_stopped(tmp_path: Path, no_ray: None) -> None:
    whole = driver.run(Attempt(make_work(tmp_path / "a"), tmp_path / "a").context)
    work = make_work(tmp_path / "b")
    with pytest.raises(StageStopped):
        driver.run(Attempt(work, tmp_path / "b" / "1", stop_after=1).context)
    newest = Checkpoints(work.store, IDENTITY, tmp_path / "reader").newest()
    assert newest is not None
    assert newest.step >= 1
    resumed = driver.run(Attempt(work, tmp_path / "b" / "2").context)
    assert resumed.output_digest == whole.output_digest


def test_what_the_training_finds_wrong_is_raised_as_it_is(tmp_path: Path, no_ray: None) -> None:
    work = make_work(tmp_path, [row | {"soft": None} for row in make_rows()])
    with pytest.raises(StageFailed) as caught:
        driver.run(Attempt(work, tmp_path).context)
    assert caught.value.reason == "NoSoftLabels"
    architecture = {"model_type": "llama", "hiden_size": 32}
    with pytest.raises(SpecError, match="did you mean hidden_size"):
        driver.run(Attempt(make_work(tmp_path / "b", base={"architecture": architecture}), tmp_path).context)


def test_the_work_tells_nothing_when_printed_and_travels_by_pickle(tmp_path: Path) -> None:
    work = make_work(tmp_path)
    assert repr(work) == f"Work({IDENTITY[:12]})"
    assert pickle.loads(pickle.dumps(work)).params == work.params


@pytest.fixture
def ray_off_afterwards() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data's, about its own settings
@pytest.mark.usefixtures("ray_off_afterwards")
def test_a_ray_worker_trains_the_same_student_as_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real TorchTrainer with a worker process of a Ray cluster."""
    here = driver.run(Attempt(make_work(tmp_path / "a"), tmp_path / "a").context)
    monkeypatch.setattr(driver, "IN_PROCESS_PARAMETERS", 0)
    attempt = Attempt(make_work(tmp_path / "b"), tmp_path / "b")
    there = driver.run(attempt.context)
    assert ray.is_initialized()
    assert replace(there, provenance={}) == replace(here, provenance={})
    assert attempt.progress[0].message == "starting Ray"
    assert attempt.progress[-1].total == 18

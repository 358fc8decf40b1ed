"""The work of the training process, Ray or not: artifact in, finished checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from distillery.artifacts.artifact import Artifact
from distillery.artifacts.manifest import Manifest
from distillery.artifacts.store import ObjectStore
from distillery.artifacts.tables import KEPT, read_table
from distillery.modeling.base import Student, load_base
from distillery.modeling.threads import available_cores, threads_for
from distillery.stages.student.checkpoints import Checkpoints
from distillery.stages.student.examples import ExampleMaker, require_rows, texts_of
from distillery.stages.student.result import write_result
from distillery.stages.student.spec import StudentParams
from distillery.stages.student.team import Team
from distillery.stages.student.training import ALONE, Hooks, Material, Training


@dataclass(frozen=True, slots=True)
class Work:
    """All that the training process is handed. The stores look up their credentials where they arrive."""

    params: StudentParams
    identity: str
    store: ObjectStore
    kept: Manifest
    base_store: ObjectStore | None
    scratch: Path

    def __repr__(self) -> str:
        return f"Work({self.identity[:12]})"


def train(work: Work, hooks: Hooks, warn: Callable[[str], None], team: Team = ALONE) -> None:
    """Train from the newest checkpoint on and leave a finished checkpoint that holds the stage's result.

    All processes of a team call it at about the same time; the leader leaves the result.

    Raises: SpecError, StageFailed, StageStopped, TransientError.
    """
    checkpoints = Checkpoints(work.store, work.identity, work.scratch / "checkpoints", warn)
    if team.follow(checkpoints.newest(finished=True) is not None):
        return
    section, output = work.params.student, work.params.output
    kept = Artifact(work.store, work.kept, work.scratch / "inputs")
    rows = read_table(kept.local("kept.parquet"), KEPT)
    student = _limited(_base(work, rows), section.max_length)
    parameters = sum(parameter.numel() for parameter in student.model.parameters())
    torch.set_num_threads(threads_for(parameters, available_cores()))
    maker = ExampleMaker(student.chat, work.params.system_prompt, output, section.loss, student.max_length)
    training_rows, validation_rows = maker.make(rows, "train"), maker.make(rows, "validation")
    require_rows(training_rows, section.loss.soft)
    if not validation_rows.kept:
        warn("there are no validation rows: nothing decides when to stop, and the last weights are kept")
    material = Material(student, section, training_rows.kept, validation_rows.kept, maker.label_ids)
    training = Training(material, checkpoints, work.scratch / "training", hooks, team)
    training.run()
    if not team.leads:
        return
    folder = work.scratch / "result"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_result(training, training_rows, validation_rows, folder)
    files = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    checkpoints.save(training.position.step, files, finished=True)


def _base(work: Work, rows: list[dict[str, Any]]) -> Student:
    def open_folder(uri: str) -> ObjectStore:
        assert work.base_store is not None, uri
        return work.base_store

    section, labels = work.params.student, work.params.output.labels or ()
    texts = texts_of(rows, work.params.system_prompt)
    return load_base(section.base, texts, labels, section.seed, open_folder, work.scratch / "base")


def _limited(student: Student, max_length: int | None) -> Student:
    known = [length for length in (student.max_length, max_length) if length is not None]
    return replace(student, max_length=min(known, default=None))

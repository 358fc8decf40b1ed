"""For tests of the teacher stage: a store with a dataset, a context, and what the driver says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from distillery.artifacts.artifact import Artifact, ArtifactWriter
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import Manifest
from distillery.artifacts.tables import COMPLETIONS, INPUTS, read_table, write_table
from distillery.stages.context import StageContext
from distillery.stages.stage import StageRun
from distillery.stages.teacher.driver import run
from distillery.stages.teacher.spec import TeacherParams
from querying_builders import make_settings

TOPICS = {"billing": "the invoice is wrong", "login": "my password is lost", "refund": "I want a refund"}


def make_rows(train: int = 60, validation: int = 6, test: int = 12) -> list[dict[str, Any]]:
    """Rows of the inputs table, sorted by id; the topic is the reference."""
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    rows = []
    for number, split in enumerate(splits):
        label = sorted(TOPICS)[number % 3]
        rows.append(
            {
                "row_id": f"r{number:04}",
                "split": split,
                "group": None,
                "messages": [{"role": "user", "content": f"{number}: {TOPICS[label]}"}],
                "reference": label,
                "slices": [f"category={label}"],
                "copies": 1,
            }
        )
    return rows


def make_params(url: str, **changes: Any) -> TeacherParams:
    """Parameters of a label task; `teacher` holds changes to the settings."""
    settings = make_settings(**{"url": url, "system_prompt": "Route it.", **changes.pop("teacher", {})})
    return TeacherParams(**{"teacher": settings, **changes})


class Secrets:
    def get(self, name: str, key: str) -> str:
        return f"sk-of-{name}/{key}"

    def optional(self, name: str, key: str) -> str | None:
        return None


class Attempt:
    """One attempt of the stage and what it left."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.warnings: list[str] = []
        self.progress: list[Any] = []
        self.folder = world.folder / f"attempt-{number}"
        self.output = ArtifactWriter(world.store, "teacher", "identity", self.folder)
        self.result: Any = None

    def run(self, params: TeacherParams) -> Attempt:
        self.result = run(self.context(params))
        return self

    def context(self, params: TeacherParams) -> StageContext:
        return StageContext(
            run=StageRun(
                stage="teacher",
                recipe="recipe",
                params=params.to_wire(),
                consumes=["dataset"],
                spec_digest="",
                job_name="job",
                job_uid="job-1",
            ),
            identity="identity",
            attempt=self.number,
            store=self.world.store,
            inputs={"dataset": self.world.dataset},
            output=self.output,
            scratch=self.folder,
            secrets=Secrets(),
            progress=self.progress.append,
            stop_requested=lambda: self.world.stop,
            now=time.time,
            open_source=lambda *_: self.world.store,
            warn=self.warnings.append,
        )

    @property
    def completions(self) -> list[dict[str, Any]]:
        return read_table(self.output.path("completions.parquet"), COMPLETIONS)

    @property
    def usage(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.output.path("usage.json").read_bytes())
        return document


class World:
    """What the stage finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = DirectoryStore(folder / "store")
        self.stop = False
        self.attempts = 0
        self.dataset: Artifact

    def with_rows(self, rows: list[dict[str, Any]]) -> World:
        writer = ArtifactWriter(self.store, "dataset", f"identity-{len(rows)}", self.folder / "dataset")
        write_table(writer.path("inputs.parquet"), INPUTS, rows)
        manifest = writer.commit(
            lambda writer_id, files: Manifest(
                stage="dataset",
                identity=writer.identity,
                recipe="",
                writer=writer_id,
                files=files,
                output_digest="",
            )
        )
        self.dataset = Artifact(self.store, manifest, self.folder / "cache")
        return self

    def attempt(self) -> Attempt:
        self.attempts += 1
        return Attempt(self, self.attempts)

    def run(self, params: TeacherParams) -> Attempt:
        return self.attempt().run(params)

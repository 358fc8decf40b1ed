"""For tests of the evaluation stage: a store with what earlier stages left, a context, and what the driver says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distillery.api.v1alpha1.distillation_job import Release
from distillery.api.v1alpha1.evaluation import Evaluation
from distillery.api.v1alpha1.task import Output, Task
from distillery.artifacts.artifact import Artifact, ArtifactWriter
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import Manifest
from distillery.artifacts.tables import (
    COMPLETIONS,
    INPUTS,
    PREDICTIONS,
    TRAINING_LOG,
    Row,
    read_table,
    write_table,
)
from distillery.scoring.retention import Floats
from distillery.stages.context import StageContext, StageResult
from distillery.stages.evaluation.driver import run
from distillery.stages.evaluation.spec import EvaluationParams
from distillery.stages.stage import StageRun
from evaluation_builders import FUNNEL, coverage_document, training_document, training_log
from querying_builders import make_settings

TOPICS = {"billing": "the invoice is wrong", "login": "my password is lost", "refund": "I want a refund"}
LABELS = sorted(TOPICS)
WriteModel = Callable[[Path], None]


class KeywordModel:
    """A student that knows the topics but takes every `wrong`-th row for a refund; it reads 200 characters."""

    parameters = 1000
    size_bytes = 4000

    def __init__(self, wrong: int = 20) -> None:
        self.wrong = wrong

    def fits(self, conversation: Sequence[dict[str, str]], labels: Sequence[str] = ()) -> bool:
        return len(conversation[-1]["content"]) <= 200

    def label_log_probs(
        self, conversations: Sequence[Sequence[dict[str, str]]], labels: Sequence[str], batch_size: int = 32
    ) -> Floats:
        probs = np.full((len(conversations), len(labels)), 0.1 / (len(labels) - 1))
        for i, conversation in enumerate(conversations):
            probs[i, list(labels).index(self._label(conversation[-1]["content"]))] = 0.9
        return np.log(probs)

    def generate(
        self, conversations: Sequence[Sequence[dict[str, str]]], max_new_tokens: int, batch_size: int = 32
    ) -> list[str]:
        return [self._label(conversation[-1]["content"]) for conversation in conversations]

    def _label(self, text: str) -> str:
        number = int(text.split(":")[0])
        if number % self.wrong == 0:
            return "refund"
        return next(label for label, topic in TOPICS.items() if topic in text)


def make_rows(test: int = 120, train: int = 30) -> list[dict[str, Any]]:
    """Rows of the inputs table, sorted by id; the topic is the reference."""
    rows = []
    for number in range(test + train):
        label = LABELS[number % 3]
        rows.append(
            {
                "row_id": f"r{number:04}",
                "split": "test" if number < test else "train",
                "group": None,
                "messages": [{"role": "user", "content": f"{number}: {TOPICS[label]}"}],
                "reference": label,
                "slices": [f"category={label}"],
                "copies": 1,
            }
        )
    return rows


def make_params(url: str, **changes: Any) -> EvaluationParams:
    """Parameters of a label task that gates retention and releases `router`; `changes` replace fields."""
    output = Output(format="label", labels=LABELS)
    settings = {"url": url, "system_prompt": "Route it.", "output": output, **changes.pop("teacher", {})}
    evaluation = {"gates": {"retention": {"min": 0.85}}, "noiseRows": 40, **changes.pop("evaluation", {})}
    fields: dict[str, Any] = {
        "evaluation": Evaluation.model_validate(evaluation),
        "task": Task(system_prompt="Route it.", output=output, monthly_requests=1000),
        "teacher": make_settings(**settings),
        "max_failed": 0.02,
        "release": Release(name="router"),
    }
    return EvaluationParams(**(fields | changes))


class Secrets:
    def get(self, name: str, key: str) -> str:
        return "sk-0123456789"

    def optional(self, name: str, key: str) -> str | None:
        return None


def _no_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")


class World:
    """A store with the artifacts that the evaluation reads, and what its driver says."""

    def __init__(
        self, folder: Path, rows: Sequence[Row] | None = None, write_model: WriteModel = _no_model
    ) -> None:
        self.folder = folder
        self.store = DirectoryStore(folder / "store")
        self.warnings: list[str] = []
        self.progress: list[Any] = []
        self.stop: Callable[[], bool] = lambda: False
        self.attempts = 0
        self.inputs = self._write_inputs(rows or make_rows(), write_model)

    def _write_inputs(self, rows: Sequence[Row], write_model: WriteModel) -> dict[str, Artifact]:
        writers = {
            name: ArtifactWriter(self.store, name, f"{name}-identity", self.folder / name)
            for name in ("dataset", "teacher", "filter", "student")
        }
        write_table(writers["dataset"].path("inputs.parquet"), INPUTS, rows)
        writers["dataset"].write("coverage.json", json.dumps(coverage_document([])).encode())
        bought = [
            {
                **dict.fromkeys(COMPLETIONS.names),
                "row_id": row["row_id"],
                "prompt_tokens": 20,
                "completion_tokens": 2,
            }
            for row in rows
            if row["split"] == "train"
        ]
        write_table(writers["teacher"].path("completions.parquet"), COMPLETIONS, bought)
        writers["filter"].write("counts.json", json.dumps(FUNNEL).encode())
        write_model(writers["student"].folder / "model")
        writers["student"].write("training.json", json.dumps(training_document()).encode())
        write_table(writers["student"].path("training_log.parquet"), TRAINING_LOG, training_log())
        return {name: self._commit(writer) for name, writer in writers.items()}

    def _commit(self, writer: ArtifactWriter) -> Artifact:
        manifest = writer.commit(
            lambda writer_id, files: Manifest(
                stage=writer.stage,
                identity=writer.identity,
                recipe="recipe",
                writer=writer_id,
                files=files,
                output_digest=f"out-{writer.stage}",
            )
        )
        return Artifact(self.store, manifest, self.folder / "cache")

    def run(self, params: EvaluationParams, identity: str = "e" * 64) -> Attempt:
        """Run one attempt of the driver."""
        self.attempts += 1
        output = ArtifactWriter(self.store, "evaluation", identity, self.folder / f"attempt-{self.attempts}")
        context = StageContext(
            run=StageRun(
                stage="evaluation",
                recipe="recipe",
                params=params.to_wire(),
                consumes=["dataset", "teacher", "filter", "student"],
                spec_digest="",
                job_name="tickets",
                job_uid="job-1",
            ),
            identity=identity,
            attempt=self.attempts,
            store=self.store,
            inputs=self.inputs,
            output=output,
            scratch=self.folder / "scratch",
            secrets=Secrets(),
            progress=self.progress.append,
            stop_requested=lambda: self.stop(),
            now=time.time,
            open_source=lambda *_: self.store,
            warn=self.warnings.append,
        )
        return Attempt(run(context), output)


class Attempt:
    """What one attempt returned and left."""

    def __init__(self, result: StageResult, output: ArtifactWriter) -> None:
        self.result = result
        self.output = output

    def document(self, name: str) -> dict[str, Any]:
        """Return a JSON document of the artifact."""
        document: dict[str, Any] = json.loads(self.output.path(name).read_bytes())
        return document

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """The rows of predictions.parquet."""
        return read_table(self.output.path("predictions.parquet"), PREDICTIONS)

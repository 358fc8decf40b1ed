"""Builders for the student stage: a filter artifact of toy tickets, parameters from a real spec, hooks."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.artifacts.artifact import ArtifactWriter
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import Manifest
from distillery.artifacts.tables import KEPT, write_table
from distillery.stages.report import Progress
from distillery.stages.student.spec import StudentParams, from_spec
from distillery.stages.student.training import Hooks
from distillery.stages.student.work import Work

LABELS = ("billing", "login", "refund")
WORDS = {
    "billing": ("invoice", "charge", "payment"),
    "login": ("password", "account", "sign"),
    "refund": ("money", "return", "back"),
}
FILLERS = ("hello", "please", "the", "is", "my", "wrong", "again", "today")
IDENTITY = "5" * 64
ARCHITECTURE: dict[str, Any] = {
    **{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128},
    "tie_word_embeddings": True,
}

Row = dict[str, Any]


def make_row(number: int, split: str = "train", soft: bool = True, **fields: Any) -> Row:
    """Return kept row `number`: always the same one; its words tell its label."""
    rng = random.Random(f"{split}{number}")
    label = rng.choice(LABELS)
    words = [rng.choice(WORDS[label]) for _ in range(2)] + [
        rng.choice(FILLERS) for _ in range(rng.randint(2, 12))
    ]
    rng.shuffle(words)
    distribution = [0.8 if name == label else 0.1 for name in LABELS]
    return {
        "row_id": f"{split}-{number:04}",
        "split": split,
        "messages": [{"role": "user", "content": " ".join(words)}],
        "answer": label,
        "soft": distribution if soft else None,
        "reference": None,
        "slices": [],
        "copies": 1,
    } | fields


def make_rows(train: int = 48, validation: int = 12, **fields: Any) -> list[Row]:
    """Return rows sorted by row id."""
    rows = [make_row(number, **fields) for number in range(train)]
    rows += [make_row(number, "validation", **fields) for number in range(validation)]
    return sorted(rows, key=lambda row: str(row["row_id"]))


def make_params(**student: Any) -> StudentParams:
    """Return the parameters of a tiny label task; keywords replace fields of the student section."""
    output = student.pop("output", {"format": "label", "labels": list(LABELS)})
    section = {
        "base": {"architecture": ARCHITECTURE, "tokenizer": {"train": {"vocabSize": 360}}},
        "loss": {"hard": 0.5, "soft": 0.5},
        "epochs": 3,
        "batchSize": 8,
        "evaluationsPerEpoch": 2,
        "optimizer": {"learningRate": 0.01, "warmupRatio": 0.1},
    }
    spec = {
        "task": {"systemPrompt": "Route the ticket.", "output": output},
        "dataset": {"sources": [{"uri": "file:///nowhere.jsonl"}], "input": "{text}"},
        "teacher": {"model": "teacher", "endpoint": {"url": "http://teacher/v1"}},
        "student": section | student,
    }
    return from_spec(DistillationJobSpec.model_validate(spec))


def commit_rows(store: DirectoryStore, rows: list[Row], folder: Path) -> Manifest:
    """Commit rows as the filter's artifact."""
    writer = ArtifactWriter(store, "filter", "f" * 64, folder)
    write_table(writer.path("kept.parquet"), KEPT, rows)
    return writer.commit(
        lambda writer_id, files: Manifest(
            stage="filter", identity="f" * 64, recipe="r", writer=writer_id, files=files, output_digest="d"
        )
    )


def make_work(folder: Path, rows: list[Row] | None = None, **student: Any) -> Work:
    """Return the work of a training over a fresh store in `folder`."""
    store = DirectoryStore(folder / "store")
    manifest = commit_rows(store, make_rows() if rows is None else rows, folder / "filter")
    return Work(make_params(**student), IDENTITY, store, manifest, None, folder / "scratch")


class Seen:
    """Hooks that remember what they were told; `stop_at` and `crash_at` end a training after that step."""

    def __init__(self, stop_at: int | None = None, crash_at: int | None = None) -> None:
        self.steps: list[int] = []
        self.warnings: list[str] = []
        self._stop_at, self._crash_at = stop_at, crash_at

    def hooks(self) -> Hooks:
        return Hooks(self._progress, lambda: self._stop_at is not None and self.last >= self._stop_at)

    @property
    def last(self) -> int:
        return self.steps[-1] if self.steps else 0

    def _progress(self, progress: Progress) -> None:
        self.steps.append(progress.done)
        if self.last == self._crash_at:
            raise KilledError


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


@pytest.fixture
def work_of(tmp_path: Path) -> Callable[..., Work]:
    """Return a function that builds work in a fresh folder of this test: (rows=None, **student section)."""
    count = 0

    def build(rows: list[Row] | None = None, **student: Any) -> Work:
        nonlocal count
        count += 1
        return make_work(tmp_path / str(count), rows, **student)

    return build

"""Builders for the dataset stage: parameters from a real spec, rows in files, the stage without its preflight."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.store import ObjectStore
from distillery.stages.dataset.inputs import Inputs, build_inputs
from distillery.stages.dataset.oversample import check_oversample
from distillery.stages.dataset.reading import read_files
from distillery.stages.dataset.sources import find_sources
from distillery.stages.dataset.spec import DatasetParams

MakeParams = Callable[..., DatasetParams]
Read = Callable[[DatasetParams], Inputs]


def make_params(sources: Sequence[dict[str, Any]] = (), **fields: Any) -> DatasetParams:
    """Return parameters; `output`, `systemPrompt`, `teacher` and `student` go to their sections."""
    task = {"output": fields.pop("output", {"format": "text"})}
    if "systemPrompt" in fields:
        task["systemPrompt"] = fields.pop("systemPrompt")
    teacher = {"model": "teacher", "endpoint": {"url": "http://teacher/v1"}} | fields.pop("teacher", {})
    student = {"base": {"architecture": {"model_type": "llama"}}} | fields.pop("student", {})
    dataset = {"sources": list(sources) or [{"uri": "file:///nowhere.jsonl"}], "input": "{text}"} | fields
    dataset = {key: value for key, value in dataset.items() if value is not None}
    spec = {"task": task, "dataset": dataset, "teacher": teacher, "student": student}
    return DatasetParams.from_spec(DistillationJobSpec.model_validate(spec))


def open_folder(uri: str, endpoint: str | None, credentials_secret: str | None) -> ObjectStore:
    """Open a folder, also under an s3:// address: `s3:///tmp/x` is the folder /tmp/x."""
    return DirectoryStore(Path(uri.partition("://")[2]))


def build(params: DatasetParams, cache: Path) -> Inputs:
    """Run the stage up to the table."""
    check_oversample(params.oversample, params.slices)
    pooled, _ = read_files(find_sources(params.sources, open_folder, cache), params)
    return build_inputs(pooled, params)


@pytest.fixture(name="make_params", scope="session")
def _make_params() -> MakeParams:
    return make_params


@pytest.fixture
def inputs_of(tmp_path: Path) -> Callable[..., Inputs]:
    """Return a function that writes rows and builds the table: (rows, **fields of the dataset section)."""

    def inputs_of(rows: Sequence[dict[str, Any]], format: str = "plain", **fields: Any) -> Inputs:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        params = make_params([{"uri": f"file://{path}", "format": format}], **fields)
        return build(params, tmp_path / "cache")

    return inputs_of


@pytest.fixture
def build_params(tmp_path: Path) -> Read:
    """Return a function that builds the table of finished parameters."""
    return lambda params: build(params, tmp_path / "cache")


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Return a function that runs code in a fresh interpreter and returns what it prints."""

    def run_python(code: str) -> str:
        done = children.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout

    return run_python

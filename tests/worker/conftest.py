"""A small bench with its own teacher and API for tests of one worker process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tiny_job import make_bench, teacher_process
from worker_bench import ConfigMapApi, Operator


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """A quick teacher."""
    with _operator(tmp_path) as operator:
        yield operator


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """A finished dataset stage, to be copied."""
    with _operator(tmp_path_factory.mktemp("prepared")) as operator:
        ended = operator.run("dataset")
        assert ended.code == 0, ended.log
    return operator


@pytest.fixture
def slow(tmp_path: Path, prepared: Operator) -> Iterator[Operator]:
    """A teacher that takes its time, and a finished dataset stage."""
    with _operator(tmp_path, "--delay", "0.15") as operator:
        operator.bench.tickets = prepared.bench.tickets
        operator.parents = list(prepared.parents)
        shutil.copytree(prepared.bench.store.root, operator.bench.store.root)
        yield operator


@contextmanager
def _operator(folder: Path, *arguments: str) -> Iterator[Operator]:
    bill = folder / "bill.jsonl"
    with teacher_process(bill, *arguments) as url, ConfigMapApi().served() as api:
        yield Operator(make_bench(folder / "bench", url, bill), api)

"""Bad input as a user meets it: the real command, one clear message, the right exit status, nothing billed unseen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import children
from distillery.planning.observed import Observed, Patience
from distillery.querying import EngineOptions
from tiny_job import Bench, Ran, make_bench, teacher_process

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    bill = tmp_path_factory.mktemp("teacher") / "bill.jsonl"
    with teacher_process(bill) as url:
        yield url, bill


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher that does not come up is given up within a second, instead of a good minute in five tries."""
    options, looks = "distillery.stages.dataset.preflight.EngineOptions", "distillery.runner.local.Observed"
    monkeypatch.setattr(options, partial(EngineOptions, startup_seconds=0.2, backoff_seconds=0.05))
    monkeypatch.setattr(looks, partial(Observed, patience=Patience(pauses=(0.0,))))


@dataclass
class Case:
    """What is done to a good bench, how the run must end, and what its message must name."""

    spoil: Callable[[Bench], list[str] | None]
    code: int
    names: tuple[str, ...]


def tickets(text: str | bytes) -> Callable[[Bench], None]:
    def spoil(bench: Bench) -> None:
        bench.tickets.write_bytes(text if isinstance(text, bytes) else text.encode())

    return spoil


def override(*settings: str) -> Callable[[Bench], list[str]]:
    return lambda bench: [part for setting in settings for part in ("--set", setting)]


def manifest_text(edit: Callable[[str], str]) -> Callable[[Bench], None]:
    def spoil(bench: Bench) -> None:
        bench.job.write_text(edit(bench.job.read_text()))

    return spoil


def good(number: int, **changes: Any) -> str:
    row = {"id": f"t{number}", "text": f"ticket {number}", "category": "login", "lang": "en"}
    return json.dumps(row | changes) + "\n"


GOOD = "".join(good(number) for number in range(30))

CASES: dict[str, Case] = {
    "malformed YAML": Case(manifest_text(lambda t: t + "\n  - : ]["), 2, ("job.yaml",)),
    "a duplicate key": Case(manifest_text(lambda t: t + "\nkind: DistillationJob\n"), 2, ("kind", "twice")),
    "an unknown field": Case(override("spec.teecher=1"), 2, ("spec.teecher", "teacher")),
    "a misspelt field": Case(override("spec.student.epoch=3"), 2, ("spec.student.epoch", "epochs")),
    "a wrong type": Case(override("spec.student.epochs=many"), 2, ("spec.student.epochs", "many")),
    "a value out of range": Case(
        override("spec.dataset.split.test=1.5"), 2, ("spec.dataset.split.test", "1.5")
    ),
    "splits that leave no training rows": Case(
        override("spec.dataset.split.test=0.6", "spec.dataset.split.validation=0.4"), 2, ("split",)
    ),
    "labels without format label": Case(
        override("spec.task.output.format=text"), 2, ("spec.task.output", "labels")
    ),
    "consistency without extra samples": Case(
        override("spec.filter.rules=[{consistency: {}}]"), 2, ("consistency", "samples")
    ),
    "soft loss without logprobs": Case(
        override("spec.teacher.parameters.topLogprobs=0"), 2, ("topLogprobs", "loss: {hard: 1, soft: 0}")
    ),
    "a budget without prices": Case(override("spec.teacher.pricing=null"), 2, ("maxCost", "pricing")),
    "an unknown stage for --until": Case(lambda bench: ["--until", "training"], 2, ("--until", "training")),
    "an unknown output format": Case(lambda bench: ["--output", "xml"], 2, ("--output", "xml")),
    "an override without a value": Case(lambda bench: ["--set", "spec.student.epochs"], 2, ("--set",)),
    "a secret written as a value": Case(lambda bench: ["--secret", "teacher/key=sk-123"], 2, ("--secret",)),
    "a secret that is not set": Case(
        override("spec.teacher.endpoint.apiKeySecret={name: teacher, key: api-key}"),
        2,
        ("teacher/api-key", "DISTILLERY_SECRET_TEACHER_API_KEY"),
    ),
    "a missing file": Case(lambda bench: bench.tickets.unlink(), 2, ("tickets.jsonl",)),
    "an empty file": Case(tickets(""), 2, ("tickets.jsonl",)),
    "bad JSON on a line": Case(tickets(GOOD + "{oops\n"), 2, ("tickets.jsonl:31",)),
    "a line that is no object": Case(tickets(GOOD + "[1]\n"), 2, ("tickets.jsonl:31",)),
    "the wrong source format": Case(
        override("spec.dataset.sources[0].format=chat"), 2, ("tickets.jsonl:1", "messages")
    ),
    "invalid UTF-8": Case(
        tickets(GOOD.encode() + b'{"id": "x", "text": "\xff"}\n'), 2, ("tickets.jsonl:31", "UTF-8")
    ),
    "a row of 10 MB": Case(tickets(GOOD + good(99, text="x" * 10_000_000)), 2, ("tickets.jsonl:31",)),
    "duplicate ids": Case(tickets(GOOD + good(3, text="another text")), 2, ("t3", "tickets.jsonl:31")),
    "an unknown label in a reference": Case(tickets(GOOD + good(99, category="logn")), 2, ("logn", "login")),
    "a missing column": Case(override("spec.dataset.input={subject}"), 2, ("subject", "tickets.jsonl:1")),
    "a wrong endpoint": Case(
        override("spec.teacher.endpoint.url=http://127.0.0.1:9/v1"), 1, ("127.0.0.1:9",)
    ),
    "an unknown model type": Case(
        override("spec.student.base.architecture={model_type: lama, hidden_size: 32}"), 2, ("lama", "llama")
    ),
    "a base model that is not there": Case(
        lambda bench: override(f"spec.student.base={{uri: file://{bench.folder}/nowhere}}")(bench),
        2,
        ("nowhere",),
    ),
    "a store that is a file": Case(
        lambda bench: ((bench.folder / "store").write_text("x"), None)[1], 1, ("store",)
    ),
    "a store that cannot be written": Case(
        override("spec.storage.uri=file:///sys/distillery"), 1, ("/sys/distillery",)
    ),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_explained(name: str, teacher: tuple[str, Path], tmp_path: Path) -> None:
    url, bill = teacher
    case = CASES[name]
    bench = make_bench(tmp_path / "bench", url, bill)
    before = len(bench.billed())
    ran = bench.run_here("--until", "teacher", *(case.spoil(bench) or []))
    check(ran, case)
    assert len(bench.billed()) - before <= 1  # at most the preflight call, which is in the ledger


FAULTS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "the key is refused": ("401", 1, ("401", "spec.teacher")),
    "the model is unknown": ("404", 1, ("404", "spec.teacher")),
    "the quota is used up": ("quota", 1, ("quota",)),
    "the teacher is broken": ("500", 1, ("500",)),
    "the teacher answers garbage": ("garbage", 1, ("spec.teacher",)),
    "the teacher answers a web page": ("html", 1, ("spec.teacher",)),
    "the teacher answers nothing": ("empty", 1, ("spec.teacher",)),
    "the teacher sends no choices": ("no-choices", 1, ("choices",)),
    "the teacher returns no logprobs": ("no-logprobs", 1, ("{hard: 1, soft: 0}",)),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_teacher_is_explained(name: str, tmp_path: Path) -> None:
    kind, code, names = FAULTS[name]
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, "--fault", json.dumps({"kind": kind})) as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        ran = bench.run_here("--until", "teacher")
        check(ran, Case(lambda bench: None, code, names))
        micro = sum(2 * call["prompt"] + 10 * call["completion"] for call in bench.billed())
        cost = ran.status["cost"]
        assert float(cost["spent"]) + float(cost.get("unknown") or 0) >= micro / 1e6


def check(ran: Ran, case: Case) -> None:
    shown = ran.err + "".join(event["message"] for event in ran.events if event["type"] == "finished")
    assert ran.code == case.code, shown
    assert "Traceback" not in ran.out + ran.err
    missing = [name for name in case.names if name not in shown]
    assert not missing, shown


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mounted = children.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield
    finally:
        children.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root"
)
def test_a_full_disk_is_explained_and_half_nothing_is_left(teacher: tuple[str, Path], tmp_path: Path) -> None:
    url, bill = teacher
    bench = make_bench(tmp_path / "bench", url, bill)
    with small_disk(bench.folder / "store", "48k"):
        ran = bench.run_here("--until", "teacher")
        check(ran, Case(lambda bench: None, 1, ("store", "full")))
        assert "teacher" not in bench.manifests()


def test_a_teacher_that_hangs_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillery.stages.dataset.preflight.PATIENCE_SECONDS", 0.5)
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, "--fault", json.dumps({"kind": "hang"})) as url:
        bench = make_bench(tmp_path / "bench", url, bill)
        ran = bench.run_here("--until", "teacher")
        check(ran, Case(lambda bench: None, 1, ("spec.teacher",)))
        assert float(ran.status["cost"]["unknown"]) > 0  # whether the lost calls are billed, nobody knows

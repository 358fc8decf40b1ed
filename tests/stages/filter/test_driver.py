from __future__ import annotations

import json
import time
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import pytest

from distillery.artifacts.artifact import Artifact, ArtifactWriter
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import Manifest, logical_digest
from distillery.artifacts.tables import (
    COMPLETIONS,
    INPUTS,
    KEPT,
    REJECTED,
    Row,
    read_table,
    rows_digest,
    write_table,
)
from distillery.errors import StageFailed, StageStopped
from distillery.stages.context import StageContext, StageResult
from distillery.stages.filter.driver import run
from distillery.stages.stage import StageRun

LABELS = ["billing", "login"]
Logprobs = list[dict[str, Any]]


def an_input(row_id: str, split: str = "train", **fields: Any) -> dict[str, Any]:
    return {
        "row_id": row_id,
        "split": split,
        "group": None,
        "messages": [{"role": "user", "content": f"ticket {row_id}"}],
        "reference": "billing",
        "slices": ["german"],
        "copies": 1,
        **fields,
    }


def a_completion(row_id: str, text: str | None = "billing", **fields: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(COMPLETIONS.names),
        "row_id": row_id,
        "split": "train",
        "sample_index": 0,
        "status": "answered",
        "text": text,
        "finish_reason": "stop",
        "completion_tokens": 1,
        **fields,
    }


def logprobs(token: str, **probabilities: float) -> Logprobs:
    top = [{"token": name, "logprob": log(value)} for name, value in probabilities.items()]
    return [{"token": token, "logprob": log(probabilities[token]), "top": top}]


class World:
    """A store with the artifacts that the filter reads, and what its driver says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = DirectoryStore(folder / "store")
        self.warnings: list[str] = []
        self.progress: list[tuple[int, int | None]] = []
        self.stop = False

    def artifact(self, stage: str, name: str, schema: Any, rows: list[Row]) -> Artifact:
        writer = ArtifactWriter(self.store, stage, "identity", self.folder / "scratch" / stage)
        write_table(writer.path(name), schema, rows)

        def manifest(writer_id: str, files: Any) -> Manifest:
            return Manifest(
                stage=stage, identity="identity", recipe="", writer=writer_id, files=files, output_digest=""
            )

        return Artifact(self.store, writer.commit(manifest), self.folder / "cache")

    def context(self, inputs: list[Row], completions: list[Row], **params: Any) -> StageContext:
        known = {
            "rules": [{"format": {}}, {"length": {}}, {"refusal": {}}],
            "discard": {"expected": [0.0, 0.2], "max": 0.5},
            "review": {"sample": 50},
            "output": {"format": "label", "labels": LABELS},
            **params,
        }
        stage_run = StageRun(
            stage="filter",
            recipe="",
            params=known,
            consumes=["dataset", "teacher"],
            spec_digest="",
            job_name="job",
            job_uid="uid",
        )
        return StageContext(
            run=stage_run,
            identity="identity",
            attempt=1,
            store=self.store,
            inputs={
                "dataset": self.artifact("dataset", "inputs.parquet", INPUTS, inputs),
                "teacher": self.artifact("teacher", "completions.parquet", COMPLETIONS, completions),
            },
            output=ArtifactWriter(self.store, "filter", "identity", self.folder / "scratch" / "filter"),
            scratch=self.folder / "scratch" / "filter",
            secrets=None,  # type: ignore[arg-type]
            progress=lambda progress: self.progress.append((progress.done, progress.total)),
            stop_requested=lambda: self.stop,
            now=lambda: 0.0,
            open_source=None,  # type: ignore[arg-type]
            warn=self.warnings.append,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def outputs(context: StageContext) -> tuple[list[Row], list[Row], list[Row], dict[str, Any]]:
    folder = context.output.folder
    review = [json.loads(line) for line in (folder / "review.jsonl").read_text().splitlines()]
    return (
        read_table(folder / "kept.parquet", KEPT),
        read_table(folder / "rejected.parquet", REJECTED),
        review,
        json.loads((folder / "counts.json").read_text()),
    )


INPUTS_ROWS: list[Row] = [
    an_input("a", copies=3),
    an_input("b", reference=None),
    an_input("c"),
    an_input("d", "validation", slices=[]),
    an_input("e"),
    an_input("t", "test"),
]
COMPLETIONS_ROWS: list[Row] = [
    a_completion("a", "**Billing**", logprobs=logprobs("billing", billing=0.75, login=0.25)),
    a_completion("a", "login", sample_index=1),
    a_completion("b", "login", logprobs=logprobs("login", login=0.5, other=0.5)),
    a_completion("c", "I think billing"),
    a_completion("d", "Login."),
    a_completion("e", None, status="failed", reason="TimedOut", finish_reason=None),
]


def test_answers_become_targets_or_rejections_with_reasons(world: World) -> None:
    context = world.context(INPUTS_ROWS, COMPLETIONS_ROWS)
    result = run(context)
    kept, rejected, review, counts = outputs(context)
    assert kept == [
        {
            "row_id": "a",
            "split": "train",
            "messages": [{"role": "user", "content": "ticket a"}],
            "answer": "billing",
            "soft": pytest.approx([0.75, 0.25]),
            "reference": "billing",
            "slices": ["german"],
            "copies": 3,
        },
        {
            "row_id": "b",
            "split": "train",
            "messages": [{"role": "user", "content": "ticket b"}],
            "answer": "login",
            "soft": None,
            "reference": None,
            "slices": ["german"],
            "copies": 1,
        },
        {
            "row_id": "d",
            "split": "validation",
            "messages": [{"role": "user", "content": "ticket d"}],
            "answer": "login",
            "soft": None,
            "reference": "billing",
            "slices": [],
            "copies": 1,
        },
    ]
    assert rejected == [
        {
            "row_id": "c",
            "split": "train",
            "rule": "format",
            "reason": "not one of the labels",
            "text": "I think billing",
            "slices": ["german"],
        },
        {
            "row_id": "e",
            "split": "train",
            "rule": "teacher",
            "reason": "TimedOut",
            "text": None,
            "slices": ["german"],
        },
    ]
    assert [row["row_id"] for row in review] == ["a", "b", "d", "c"]
    assert (counts["version"], counts["asked"], counts["softLabels"]["rows"]) == (1, 5, 1)
    assert result == StageResult(
        output_digest=result.output_digest,
        counts={"asked": 5, "kept": 3, "rejected": 1, "failed": 1, "softLabels": 1},
        summary={
            "asked": 5,
            "kept": 3,
            "rejected": 1,
            "failed": 1,
            "discardShare": 0.25,
            "softLabels": 1,
            "rejectedByFormat": 1,
        },
    )
    assert world.warnings == ["25.0% of the answers were discarded, outside filter.discard.expected [0, 0.2]"]
    assert world.progress == [(0, 5), (5, 5)]


def test_json_answers_are_stored_in_canonical_form(world: World) -> None:
    context = world.context(
        [an_input("a")],
        [a_completion("a", '```json\n{"b": 1.0, "a": null}\n```', logprobs=logprobs("{", **{"{": 1.0}))],
        output={"format": "json"},
    )
    run(context)
    kept, *_ = outputs(context)
    assert [(row["answer"], row["soft"]) for row in kept] == [('{"a":null,"b":1}', None)]


def test_extra_samples_are_compared_where_consistency_is_wanted(world: World) -> None:
    rules = [{"format": {}}, {"consistency": {"minAgreement": 0.5}}]
    completions = [*COMPLETIONS_ROWS[:1], *COMPLETIONS_ROWS[2:], a_completion("a", "login", sample_index=1)]
    context = world.context(INPUTS_ROWS, completions, rules=rules)
    run(context)
    _, rejected, *_ = outputs(context)
    assert [(row["row_id"], row["rule"], row["reason"]) for row in rejected] == [
        ("a", "consistency", "0 of 1 extra samples agree, fewer than 0.5"),
        ("c", "format", "not one of the labels"),
        ("e", "teacher", "TimedOut"),
    ]


def test_the_digest_is_that_of_the_tables_as_stored(world: World) -> None:
    completions = [
        {**row, "logprobs": logprobs("billing", billing=0.7, login=0.3)} if row["row_id"] == "a" else row
        for row in COMPLETIONS_ROWS
    ]
    context = world.context(INPUTS_ROWS, completions)
    result = run(context)
    kept, rejected, _, _ = outputs(context)
    stored = {"kept": rows_digest(kept, KEPT), "rejected": rows_digest(rejected, REJECTED)}
    assert result.output_digest == logical_digest(stored)


def digest_after(world: World, change: Callable[[], None] = lambda: None, **params: Any) -> str:
    change()
    return run(world.context(INPUTS_ROWS, COMPLETIONS_ROWS, **params)).output_digest


def test_the_digest_is_that_of_the_rows_and_nothing_else(tmp_path: Path) -> None:
    first = digest_after(World(tmp_path / "1"))
    assert digest_after(World(tmp_path / "2")) == first
    assert digest_after(World(tmp_path / "3"), review={"sample": 0}) == first
    assert digest_after(World(tmp_path / "4"), discard={"expected": [0, 0.9], "max": 0.9}) == first
    assert digest_after(World(tmp_path / "5"), output={"format": "text"}) != first


def test_too_many_discards_leave_nothing_behind(world: World) -> None:
    context = world.context(INPUTS_ROWS, COMPLETIONS_ROWS, discard={"expected": [0, 0.1], "max": 0.1})
    with pytest.raises(StageFailed, match=r"1 of 4 answers \(25.0%\) were discarded") as caught:
        run(context)
    assert caught.value.reason == "DiscardTooHigh"
    assert list(context.output.folder.iterdir()) == []


def test_a_stop_request_is_heard(world: World) -> None:
    world.stop = True
    with pytest.raises(StageStopped):
        run(world.context(INPUTS_ROWS, COMPLETIONS_ROWS))


@pytest.mark.timeout(60)
def test_twenty_thousand_rows_with_logprobs_take_seconds(world: World) -> None:
    rows = 2000
    top = {f"word{number}": 0.01 for number in range(18)}
    alternatives = logprobs("billing", billing=0.7, login=0.12, **top)
    inputs = [an_input(f"{row:05}") for row in range(rows)]
    completions = [a_completion(f"{row:05}", logprobs=alternatives) for row in range(rows)]
    context = world.context(inputs, completions)
    start = time.process_time()
    run(context)
    assert (time.process_time() - start) * 20_000 / rows < 60

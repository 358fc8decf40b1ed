"""The stage as a whole, against a real HTTP teacher on loopback."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from distillery.artifacts import tables
from distillery.artifacts.artifact import ArtifactWriter
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import logical_digest
from distillery.artifacts.store import ObjectStore
from distillery.errors import SpecError, StageFailed, StageStopped
from distillery.modeling import base
from distillery.modeling.base import BaseFacts
from distillery.stages.context import StageContext, StageResult
from distillery.stages.dataset.driver import run
from distillery.stages.dataset.preflight import too_long
from distillery.stages.dataset.sources import pin_sources
from distillery.stages.dataset.spec import DATASET, DatasetParams
from distillery.stages.identity import SOURCES, identity_of, recipe_of
from distillery.stages.report import Progress
from distillery.stages.stage import StageRun
from fake_teacher import FakeTeacher, Fault

# The base model is checked for real, and the first to import torch and transformers may wait long for them.
pytestmark = pytest.mark.timeout(300)

LABELS = ["billing", "login", "refund"]
PROBLEMS = ["the invoice is wrong", "my password is rejected", "I want a refund"]
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def ticket(number: int) -> dict[str, Any]:
    return {
        "id": f"t{number}",
        "text": f"{PROBLEMS[number % 3]} in case {number} of {number * 31}",
        "label": LABELS[number % 3],
        "lang": "de" if number % 5 else "en",
    }


class NoSecrets:
    """The fake teacher needs no key."""

    def get(self, name: str, key: str) -> str:
        raise AssertionError(name)

    def optional(self, name: str, key: str) -> str | None:
        return None


def open_folder(uri: str, endpoint: str | None, credentials_secret: str | None) -> ObjectStore:
    return DirectoryStore(Path(uri.partition("://")[2]))


@dataclass
class Bench:
    """One workplace: tickets, parameters, and what an attempt told."""

    folder: Path
    make_params: Callable[..., DatasetParams]
    url: str
    warnings: list[str] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    stop: bool = False

    def write(self, rows: list[dict[str, Any]]) -> None:
        (self.folder / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def params(self, **fields: Any) -> DatasetParams:
        base: dict[str, Any] = {
            "id": "id",
            "reference": "label",
            "output": {"format": "label", "labels": LABELS},
            "slices": [{"name": "lang", "byColumn": "lang"}],
            "teacher": {"endpoint": {"url": self.url}, "identity": "fake", "parameters": {"topLogprobs": 5}},
            "student": {"base": {"architecture": ARCHITECTURE}, "loss": {"hard": 0.5, "soft": 0.5}},
        }
        return self.make_params([{"uri": f"file://{self.folder}/*.jsonl"}], **base | fields)

    def run(
        self, params: DatasetParams | None = None, *, pin: str | None = None
    ) -> tuple[StageContext, StageResult]:
        params = params or self.params()
        recipe = recipe_of(DATASET, params)
        identity = identity_of(recipe, {SOURCES: pin or pin_sources(params.sources, open_folder)[0]})
        store = DirectoryStore(self.folder / "store")
        frozen = StageRun(
            stage="dataset",
            recipe=recipe,
            params=params.to_wire(),
            consumes=[],
            spec_digest="spec",
            job_name="job",
            job_uid="uid",
        )
        context = StageContext(
            run=frozen,
            identity=identity,
            attempt=1,
            store=store,
            inputs={},
            output=ArtifactWriter(store, "dataset", identity, self.folder / "scratch" / "writers"),
            scratch=self.folder / "scratch",
            secrets=NoSecrets(),
            progress=self.progress.append,
            stop_requested=lambda: self.stop,
            now=lambda: 0.0,
            open_source=open_folder,
            warn=self.warnings.append,
        )
        return context, run(context)


@pytest.fixture
def bench(tmp_path: Path, make_params: Callable[..., DatasetParams]) -> Iterator[Bench]:
    with FakeTeacher() as teacher:
        bench = Bench(tmp_path, make_params, teacher.url)
        bench.write([ticket(number) for number in range(300)])
        yield bench


def document(context: StageContext, name: str) -> Any:
    return json.loads(context.output.path(name).read_text())


def test_the_artifact_holds_inputs_coverage_and_audit_and_nothing_of_the_teacher(bench: Bench) -> None:
    context, result = bench.run()
    rows = tables.read_table(context.output.path("inputs.parquet"), tables.INPUTS)
    assert result.output_digest == logical_digest({"inputs": tables.rows_digest(rows)})
    counts = {split: sum(row["split"] == split for row in rows) for split in ("train", "validation", "test")}
    assert dict(result.counts) == {"read": 300, "rows": 300, **counts}
    assert dict(result.summary) == {"rows": 300, **counts, "duplicates": 0, "slices": 2, "thinSlices": 2}
    assert (result.cost.calls, result.cost.cached) == (1, 0)
    assert document(context, "audit.json")["clean"]
    assert document(context, "coverage.json")["rows"] == 300
    files = sorted(path.name for path in context.output.folder.iterdir())
    assert files == ["audit.json", "coverage.json", "inputs.parquet"]
    assert not any(b"teacher" in path.read_bytes() for path in context.output.folder.iterdir())
    assert [source["uri"] for source in result.provenance["sources"]] == [
        f"file://{bench.folder}/tickets.jsonl"
    ]
    assert bench.warnings == []


def test_a_shuffled_file_gives_another_dataset_with_the_same_output_and_buys_nothing(bench: Bench) -> None:
    context, first = bench.run()
    rows = [ticket(number) for number in range(300)]
    random.Random(1).shuffle(rows)
    bench.write(rows)
    shuffled, second = bench.run()
    assert shuffled.identity != context.identity
    assert second.output_digest == first.output_digest
    assert (second.cost.calls, second.cost.cached) == (0, 1)


def test_leaks_that_nobody_asked_to_remove_are_told(bench: Bench) -> None:
    rows = [ticket(number) for number in range(300)]
    long = "I have written to you about the same thing many times and nobody has answered me so far"
    bench.write(
        rows + [{**ticket(number), "id": f"n{number}", "text": f"{long} {number}"} for number in range(60)]
    )
    bench.run()
    context, _ = bench.run(bench.params(deduplicate={"near": 0.8}))
    assert document(context, "audit.json")["nearDuplicatesAcrossSplits"]["rows"] == {
        "validationNearTest": 0,
        "trainNearTest": 0,
        "trainNearValidation": 0,
    }
    [warning] = bench.warnings
    assert warning.endswith(
        "rows resemble a row of another split (similarity 0.8 or more), which flatters the student: "
        "set spec.dataset.deduplicate.near to 0.8 to remove them"
    )


def test_other_things_worth_knowing_are_told(bench: Bench) -> None:
    rows = [ticket(number) for number in range(300)]
    (bench.folder / "empty.jsonl").write_text("")
    bench.write([*rows, {"text": rows[4]["text"], "id": "x4", "label": "refund", "lang": "de"}])
    bench.run(bench.params(slices=[{"name": "french", "where": {"lang": "fr"}}]))
    assert bench.warnings == [
        f"{bench.folder}/empty.jsonl is empty",
        "1 inputs occur with different references; one of each was kept",
        "no row is in slice 'french': check its `where`",
    ]


def test_sources_that_changed_since_they_were_pinned_stop_the_stage(bench: Bench) -> None:
    with pytest.raises(StageFailed) as caught:
        bench.run(pin="0" * 64)
    assert caught.value.reason == "SourcesChanged"
    assert caught.value.message == (
        "the sources changed after they were pinned, so these are not the inputs that this stage was to read "
        "→ run again; on a cluster, where an object keeps to its first pins, request a rerun of dataset"
    )


def test_a_stop_is_seen_while_reading(bench: Bench) -> None:
    bench.write([{"text": f"row {number}", "id": number} for number in range(1500)])
    bench.stop = True
    with pytest.raises(StageStopped):
        bench.run(bench.params(reference=None, slices=[]))


def test_progress_is_told_while_reading_and_comparing(bench: Bench) -> None:
    bench.write([{"text": f"the row of {number} {number * 7}", "id": number} for number in range(1500)])
    bench.run(bench.params(reference=None, slices=[], deduplicate={"near": 0.25}))
    told = [(progress.done, progress.total, progress.message) for progress in bench.progress]
    assert told == [
        (1000, None, "reading"),
        *((done, 1500, "looking for near-duplicates") for done in range(1, 1500, 256)),
        (1500, None, "auditing splits"),
        (1500, None, "checking base model and teacher"),
    ]


@pytest.mark.parametrize(
    ("fault", "reason"), [("401", "TeacherRefused"), ("404", "TeacherRefused"), ("no-logprobs", "NoLogprobs")]
)
def test_a_teacher_that_cannot_serve_the_job_stops_it_after_one_call(
    bench: Bench, fault: Any, reason: str
) -> None:
    with FakeTeacher(faults=[Fault(fault)]) as teacher:
        bench.url = teacher.url
        with pytest.raises(StageFailed) as caught:
            bench.run()
        assert len(teacher.requests) == 1
    assert caught.value.reason == reason
    if reason == "NoLogprobs":
        assert caught.value.message == (
            "spec.student.loss.soft is 0.5, but the teacher teacher returned no top logprobs "
            "(topLogprobs: 5 were asked for) → set spec.student.loss to {hard: 1, soft: 0}, "
            "or choose a teacher that returns them"
        )


def test_a_teacher_that_is_away_is_no_mistake_of_the_user(bench: Bench) -> None:
    with FakeTeacher(faults=[Fault("500")]) as teacher:
        bench.url = teacher.url
        with pytest.raises(StageFailed) as caught:
            bench.run()
    assert (caught.value.reason, caught.value.failure_class) == ("TeacherUnavailable", "infrastructure")
    assert "HTTP 500" in caught.value.message
    assert "spec.teacher.endpoint.url" in caught.value.message


def test_hard_labels_alone_need_no_logprobs(bench: Bench) -> None:
    with FakeTeacher(faults=[Fault("no-logprobs")]) as teacher:
        bench.url = teacher.url
        student = {"base": {"architecture": ARCHITECTURE}, "loss": {"hard": 1, "soft": 0}}
        _, result = bench.run(bench.params(student=student))
    assert result.counts["rows"] == 300


def test_one_row_that_nobody_can_answer_is_not_the_end(bench: Bench) -> None:
    with FakeTeacher(faults=[Fault("policy", times=1)]) as teacher:
        bench.url = teacher.url
        bench.run()
        assert len(teacher.requests) == 2


def test_a_base_that_cannot_be_built_stops_before_the_teacher_is_asked(bench: Bench) -> None:
    student = {"base": {"architecture": {"model_type": "lama"}}}
    with FakeTeacher() as teacher:
        bench.url = teacher.url
        with pytest.raises(SpecError) as caught:
            bench.run(bench.params(student=student))
        assert not teacher.requests
    assert caught.value.problems[0].path == "spec.student.base.architecture.model_type"


def test_a_store_that_cannot_be_written_stops_before_anything_is_read(bench: Bench) -> None:
    (bench.folder / "store").write_text("a file where the folder should be")
    (bench.folder / "tickets.jsonl").write_text("no JSON")
    with pytest.raises((StageFailed, NotADirectoryError)):
        bench.run()


def test_the_share_of_inputs_too_long_for_the_base_is_told() -> None:
    @dataclass
    class Words:
        """Counts words as tokens."""

        def prompts(self, conversations: list[list[dict[str, str]]]) -> list[list[int]]:
            return [[0] * sum(len(m["content"].split()) for m in messages) for messages in conversations]

    @dataclass
    class Facts:
        chat: Any
        max_length: int | None

    rows = [{"messages": [{"role": "user", "content": "word " * n}]} for n in range(1, 11)]
    want = (
        "30.0% of the inputs have 10 or more tokens for the student: "
        "training rows among them are rejected, test rows score 0; shorten them or choose another base"
    )
    facts: list[Any] = [Facts(Words(), 10), Facts(Words(), 100), Facts(Words(), None), Facts(None, 10)]
    assert [too_long(fact, "be kind", rows) for fact in facts] == [want, None, None, None]


def test_the_students_own_length_limit_counts_if_it_is_lower_than_the_bases(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Letters:
        def prompts(self, conversations: list[list[dict[str, str]]]) -> list[list[int]]:
            return [[0] * len(messages[-1]["content"]) for messages in conversations]

    facts: Any = BaseFacts("llama", 1000, 5000, Letters())  # type: ignore[arg-type]
    monkeypatch.setattr(base, "check_base", lambda *_: facts)
    student = {"base": {"hub": "organisation/model", "revision": "1"}, "maxLength": 8}
    bench.run(bench.params(student=student))
    assert "100.0% of the inputs have 8 or more tokens" in bench.warnings[0]

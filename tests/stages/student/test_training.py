from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distillery.artifacts.tables import TRAINING_LOG, read_table
from distillery.errors import StageFailed, StageStopped
from distillery.modeling import packing
from distillery.modeling.student_model import StudentModel
from distillery.rules.prompts import render
from distillery.stages.student import training
from distillery.stages.student.checkpoints import Checkpoints
from distillery.stages.student.result import output_digest
from distillery.stages.student.training import Training
from distillery.stages.student.work import Work, train
from stages.student.conftest import LABELS, KilledError, Seen, make_row, make_rows, make_work

WorkOf = Callable[..., Work]
GPT2 = {
    "base": {
        "architecture": {"model_type": "gpt2", "n_embd": 32, "n_head": 2, "n_layer": 1, "n_positions": 128}
    }
}


@pytest.fixture(autouse=True)
def _eager_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take milliseconds here; a checkpoint at every evaluation is wanted all the same."""
    monkeypatch.setattr(training, "CHECKPOINT_SHARE", 1e9)


def finish(work: Work, seen: Seen | None = None) -> Path:
    """Train to the end and return the folder of the result."""
    seen = seen or Seen()
    train(work, seen.hooks(), seen.warnings.append)
    found = Checkpoints(work.store, work.identity, work.scratch / "reader").newest(finished=True)
    assert found is not None
    return found.local["training.json"].parent


def document(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "training.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a training long enough to learn its task."""
    folder = tmp_path_factory.mktemp("learnt")
    return finish(make_work(folder, make_rows(192, 24), epochs=8))


def test_a_student_learns_its_task_and_says_how(learnt: Path) -> None:
    facts = document(learnt)
    assert facts["best"]["agreement"] >= 0.95
    assert facts["best"]["loss"] < 0.1
    assert facts["steps"] == {"planned": 192, "taken": 192, "perEpoch": 24, "best": facts["steps"]["best"]}
    assert facts["rows"]["train"] == {"used": 192, "tooLong": 0, "tooLongShare": 0.0, "tooLongRows": []}
    assert facts["softCoverage"] == 1.0
    assert facts["model"]["sizeBytes"] == (learnt / "model" / "model.safetensors").stat().st_size
    assert {path.name for path in (learnt / "model").iterdir()} == {
        *("config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    }


def test_the_log_has_every_evaluation(learnt: Path) -> None:
    log = read_table(learnt / "training_log.parquet", TRAINING_LOG)
    assert [row["step"] for row in log] == list(range(1, 193))
    looks = [row for row in log if row["validation_loss"] is not None]
    assert [row["step"] for row in looks] == list(range(12, 193, 12))
    assert min(row["validation_loss"] for row in looks) == document(learnt)["best"]["loss"]
    assert log[-1]["epoch"] == 8.0
    assert log[0]["learning_rate"] < log[30]["learning_rate"] > log[-1]["learning_rate"]


def test_the_saved_student_gives_the_agreement_that_was_measured(learnt: Path) -> None:
    model = StudentModel.load(learnt / "model")
    rows = [row for row in make_rows(0, 24) if row["split"] == "validation"]
    conversations = [render("Route the ticket.", row["messages"]) for row in rows]
    answers = [LABELS[index] for index in model.label_log_probs(conversations, LABELS).argmax(axis=1)]
    agreement = np.mean([answer == row["answer"] for answer, row in zip(answers, rows, strict=True)])
    assert agreement == document(learnt)["best"]["agreement"]
    assert model.generate(conversations, 8) == answers  # valid without any constraint


@pytest.mark.parametrize(
    "changes", [{}, GPT2, {"batchSize": 5, "evaluationsPerEpoch": 1}], ids=["llama", "gpt2", "5"]
)
def test_killed_at_any_step_and_resumed_gives_the_same_student(
    work_of: WorkOf, changes: dict[str, Any]
) -> None:
    """gpt2 has dropout, so its random state must come back too."""
    want = output_digest(finish(work_of(**changes)))
    work = work_of(**changes)
    for step in (1, 5, 9, 10, 14):
        with pytest.raises(KilledError):
            train(work, Seen(crash_at=step).hooks(), print)
    assert output_digest(finish(work)) == want


def test_a_checkpoint_is_written_at_every_evaluation_and_used(work_of: WorkOf) -> None:
    work = work_of()
    with pytest.raises(KilledError):
        train(work, Seen(crash_at=11).hooks(), print)
    again = Seen()
    finish(work, again)
    assert again.steps[0] == 10  # the evaluation at step 9 was the last one before the end


def test_a_damaged_checkpoint_costs_time_but_not_the_result(work_of: WorkOf) -> None:
    want = output_digest(finish(work_of()))
    work = work_of()
    with pytest.raises(KilledError):
        train(work, Seen(crash_at=11).hooks(), print)
    newest = Checkpoints(work.store, work.identity, work.scratch / "reader").newest()
    assert newest is not None
    work.store.put(newest.stored["state.pt"].key, b"damaged")
    again = Seen()
    assert output_digest(finish(work, again)) == want
    assert again.steps[0] == 7
    assert "step 9" in again.warnings[0]


def test_a_stop_request_saves_the_step_and_the_rest_follows_later(work_of: WorkOf) -> None:
    want = output_digest(finish(work_of()))
    work = work_of()
    with pytest.raises(StageStopped):
        train(work, Seen(stop_at=8).hooks(), print)
    again = Seen()
    assert output_digest(finish(work, again)) == want
    assert again.steps[0] == 9


def test_training_that_has_finished_is_not_repeated(work_of: WorkOf) -> None:
    work = work_of()
    finish(work)
    again = Seen()
    finish(work, again)
    assert again.steps == []


def test_early_stopping_keeps_the_best_weights(work_of: WorkOf, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: dict[int, torch.Tensor] = {}

    def remember(self: Training) -> Any:
        weights[self.position.step] = self._model.lm_head.weight.detach().clone()
        return look(self)

    look = Training._look
    monkeypatch.setattr(Training, "_look", remember)
    rows = make_rows(48, 12)
    for row in rows:
        if row["split"] == "validation":  # nothing that is learnt helps here
            row["answer"] = LABELS[(LABELS.index(row["answer"]) + 1) % 3]
            row["soft"] = None
    folder = finish(work_of(rows, epochs=20, earlyStopping={"patience": 2}))
    facts = document(folder)
    assert facts["stoppedEarly"]
    assert facts["steps"]["taken"] == facts["steps"]["best"] + 2 * 3
    saved = StudentModel.load(folder / "model")
    assert torch.equal(saved._model.lm_head.weight, weights[facts["steps"]["best"]])


def test_agreement_can_decide_when_to_stop(work_of: WorkOf) -> None:
    facts = document(finish(work_of(epochs=40, earlyStopping={"metric": "agreement", "patience": 1})))
    assert facts["stoppedEarly"]
    assert facts["steps"]["taken"] < facts["steps"]["planned"]


def test_without_validation_rows_the_last_weights_are_kept_and_said_so(work_of: WorkOf) -> None:
    seen = Seen()
    facts = document(finish(work_of(make_rows(16, 0)), seen))
    assert facts["best"] is None
    assert facts["steps"]["best"] == facts["steps"]["taken"] == 6
    assert seen.warnings == [
        "there are no validation rows: nothing decides when to stop, and the last weights are kept"
    ]


def test_a_text_task_learns_answers_token_by_token(work_of: WorkOf) -> None:
    answers = {"billing": "See your invoice.", "login": "Reset it.", "refund": "We pay you back."}
    rows = [row | {"answer": answers[row["answer"]], "soft": None} for row in make_rows(128, 12)]
    folder = finish(work_of(rows, output={"format": "text"}, loss={"hard": 1.0}, epochs=10))
    facts = document(folder)
    assert facts["best"]["agreement"] >= 0.9
    model = StudentModel.load(folder / "model")
    validation = [row for row in rows if row["split"] == "validation"]
    conversations = [render("Route the ticket.", row["messages"]) for row in validation]
    same = np.mean(
        [a == row["answer"] for a, row in zip(model.generate(conversations, 32), validation, strict=True)]
    )
    assert same == facts["best"]["agreement"]


def test_cutting_a_step_into_passes_changes_nothing_but_rounding(
    work_of: WorkOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_table(finish(work_of(epochs=1)) / "training_log.parquet", TRAINING_LOG)
    monkeypatch.setattr(packing, "MAX_ATTENTION", 3000)
    parts = read_table(finish(work_of(epochs=1)) / "training_log.parquet", TRAINING_LOG)
    np.testing.assert_allclose(
        [row["train_loss"] for row in parts], [row["train_loss"] for row in whole], rtol=1e-4
    )


def test_copies_weigh_training_but_not_validation(work_of: WorkOf) -> None:
    rows = [row | {"copies": 3} for row in make_rows(16, 4)]
    facts = document(finish(work_of(rows, epochs=1)))
    assert facts["rows"]["train"]["used"] == 16
    assert facts["rows"]["trainWithCopies"] == 48
    assert facts["steps"]["taken"] == 6


def test_too_long_rows_are_counted_and_shown(work_of: WorkOf) -> None:
    long = make_row(999, messages=[{"role": "user", "content": "money back " * 100}])
    facts = document(finish(work_of([*make_rows(16, 4), long], epochs=1)))
    assert facts["rows"]["train"]["tooLong"] == 1
    assert facts["rows"]["train"]["tooLongShare"] == pytest.approx(1 / 17)
    [shown] = facts["rows"]["train"]["tooLongRows"]
    assert shown["rowId"] == "train-0999"
    assert shown["tokens"] > 128


def test_a_limit_of_the_section_is_saved_with_the_student(work_of: WorkOf) -> None:
    folder = finish(work_of(epochs=1, maxLength=100))
    assert StudentModel.load(folder / "model").max_length == 100


def test_a_loss_that_is_no_number_stops_with_a_repair(
    work_of: WorkOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def broken(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return loss_sum(*arguments) * (float("inf") if len(calls) == 4 else 1.0)

    loss_sum = training.loss_sum
    monkeypatch.setattr(training, "loss_sum", broken)
    with pytest.raises(StageFailed) as caught:
        finish(work_of())
    assert (caught.value.reason, caught.value.failure_class) == ("Diverged", "user")
    assert caught.value.message == (
        "the loss is no finite number at step 4 with learningRate 0.01: "
        "lower student.optimizer.learningRate, for example to 0.0033, or raise warmupRatio"
    )


def test_soft_labels_that_nobody_has_are_demanded_in_vain(work_of: WorkOf) -> None:
    with pytest.raises(StageFailed) as caught:
        finish(work_of([row | {"soft": None} for row in make_rows()]))
    assert caught.value.reason == "NoSoftLabels"
    assert "loss: {hard: 1, soft: 0}" in caught.value.message


def test_progress_counts_steps_and_estimates_the_rest(work_of: WorkOf) -> None:
    work, told = work_of(epochs=1), []
    seen = Seen()
    hooks = seen.hooks()
    train(work, type(hooks)(lambda progress: told.append(progress), hooks.stop_requested), print)
    assert [(progress.done, progress.total, progress.unit) for progress in told] == [
        (step, 6, "steps") for step in range(1, 7)
    ]
    assert told[0].remaining_seconds is not None
    assert told[-1].remaining_seconds == 0
    assert "validation" in told[-1].message

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from distillery.modeling import student_model
from distillery.modeling.base import Student
from distillery.modeling.student_model import StudentModel, greedy
from modeling.small import LABELS, TEXTS, ask, tiny_student

CONVERSATIONS = [ask(text, system="Route the ticket.") for text in TEXTS]


def save(student: Student, folder: Path) -> None:
    student.chat.tokenizer.model_max_length = student.max_length
    student.model.generation_config = greedy(student.chat)
    student.model.save_pretrained(folder)
    student.chat.tokenizer.save_pretrained(folder)


@pytest.fixture
def model() -> StudentModel:
    return StudentModel(tiny_student(), 0)


def test_a_saved_student_answers_as_before(tmp_path: Path, model: StudentModel) -> None:
    save(tiny_student(max_length=100), tmp_path)
    loaded = StudentModel.load(tmp_path, threads=1)
    assert loaded.max_length == 100
    assert loaded.parameters == model.parameters
    assert loaded.size_bytes == (tmp_path / "model.safetensors").stat().st_size
    np.testing.assert_array_equal(
        loaded.label_log_probs(CONVERSATIONS, LABELS), model.label_log_probs(CONVERSATIONS, LABELS)
    )
    assert loaded.generate(CONVERSATIONS, 5) == model.generate(CONVERSATIONS, 5)


def test_label_probabilities_sum_to_one_whatever_the_batch(model: StudentModel) -> None:
    found = model.label_log_probs(CONVERSATIONS, LABELS, batch_size=4)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, atol=1e-12)
    alone = np.concatenate([model.label_log_probs([c], LABELS, batch_size=1) for c in CONVERSATIONS])
    np.testing.assert_allclose(found, alone, atol=1e-5)
    assert model.label_log_probs([], LABELS).shape == (0, len(LABELS))


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "bloom"])
def test_generation_is_greedy_decoding_and_no_batch_changes_it(model_type: str) -> None:
    student = tiny_student(model_type)
    model = StudentModel(student, 0)
    expected = []
    for prompt in student.chat.prompts(CONVERSATIONS):
        ids = list(prompt)
        for _ in range(6):
            with torch.inference_mode():
                ids.append(int(student.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        expected.append(student.chat.text(ids[len(prompt) :]))
    assert model.generate(CONVERSATIONS, 6) == expected
    assert model.generate(CONVERSATIONS, 6, batch_size=1) == expected


def test_a_conversation_that_does_not_fit_is_refused_by_number(model: StudentModel) -> None:
    long = ask("order " * 200)
    assert model.prompt_tokens(long) > 128
    assert model.fits(CONVERSATIONS[0], LABELS)
    assert not model.fits(long)
    with pytest.raises(ValueError, match=r"conversation 1 is \d+ tokens"):
        model.label_log_probs([CONVERSATIONS[0], long], LABELS)
    with pytest.raises(ValueError, match=r"conversation 0 is \d+ tokens"):
        model.generate([long], 4)


def test_a_prompt_fits_if_its_longest_label_does() -> None:
    student = tiny_student()
    conversation = CONVERSATIONS[0]
    tokens = StudentModel(student, 0).prompt_tokens(conversation)
    room = max(len(ids) for ids in student.chat.labels(LABELS))
    fits = [
        StudentModel(tiny_student(max_length=tokens + room - less), 0).fits(conversation, LABELS)
        for less in (0, 1)
    ]
    assert fits == [True, False]


def test_generation_stops_at_the_longest_row() -> None:
    student = tiny_student()
    tokens = StudentModel(student, 0).prompt_tokens(CONVERSATIONS[0])
    tight = StudentModel(tiny_student(max_length=tokens + 2), 0)
    roomy = StudentModel(student, 0)
    assert tight.generate(CONVERSATIONS[:1], 10) == roomy.generate(CONVERSATIONS[:1], 2)


def test_an_answer_has_its_own_room_whoever_shares_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    conversations = [*CONVERSATIONS, ask("order " * 40), ask("order " * 38)]
    longest = max(StudentModel(tiny_student(), 0).prompt_tokens(c) for c in conversations)
    model = StudentModel(tiny_student(max_length=longest + 2), 0)
    alone = [model.generate([conversation], 6)[0] for conversation in conversations]
    assert model.generate(conversations, 6) == alone
    monkeypatch.setattr(student_model, "BATCH_TOKENS", 1)
    assert model.generate(conversations, 6) == alone


def test_scoring_one_row_is_quick(model: StudentModel) -> None:
    model.label_log_probs(CONVERSATIONS[:1], LABELS)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        model.label_log_probs(CONVERSATIONS[:1], LABELS, batch_size=1)
        seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[len(seconds) // 2] < 0.05  # milliseconds; the bound leaves room for a busy machine

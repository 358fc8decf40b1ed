"""Which questions the teacher is asked: production's for every row, extra samples for training rows. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distillery.api.v1alpha1.teacher import Samples
from distillery.querying import Question
from distillery.rules.prompts import render

ASKED_SPLITS = ("train", "validation")

Row = Mapping[str, Any]


def asked_rows(inputs: Iterable[Row]) -> list[Row]:
    """Return the rows that this stage may ask about, by row id: the test split is not among them."""
    return sorted((row for row in inputs if row["split"] in ASKED_SPLITS), key=lambda row: str(row["row_id"]))


def questions_of(rows: Iterable[Row], system_prompt: str | None, samples: Samples | None) -> list[Question]:
    """Return the questions for these rows, in their order: production's first, then the row's extra samples."""
    questions = []
    for row in rows:
        messages = render(system_prompt, row["messages"])
        questions.append(Question(row["row_id"], messages))
        if samples is not None and row["split"] == "train":
            questions += [
                Question(row["row_id"], messages, index, samples.temperature)
                for index in range(1, samples.extra + 1)
            ]
    return questions


def evaluation_questions(inputs: Iterable[Row], system_prompt: str | None, noise_rows: int) -> list[Question]:
    """Return as many questions as the evaluation will ask, to set their cost aside; they are not asked here."""
    test = [row for row in inputs if row["split"] == "test"]
    questions = [Question(row["row_id"], render(system_prompt, row["messages"])) for row in test]
    again = [Question(one.row_id, one.messages, 1) for one in questions[:noise_rows]]
    return questions + again


def pilot_rows(rows: Iterable[Row], count: int) -> list[Row]:
    """Return `count` training rows, spread over the slices in proportion.

    A systematic sample: rows are ordered by their slices, within these by a hash of their id (never by position), and
    every n-th is taken. So shares of slices are kept, and estimates of overall shares need no weights.
    """
    training = sorted((row for row in rows if row["split"] == "train"), key=_stratum)
    if len(training) <= count:
        return training
    return [training[index * len(training) // count] for index in range(count)]


def _stratum(row: Row) -> tuple[Sequence[str], str]:
    name = hashlib.sha256(f"pilot\n{row['row_id']}".encode()).hexdigest()
    return sorted(row["slices"] or ()), name

"""The manifest of the quickstart, and what distillery's own dataset functions make of its tickets."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import answering
import tickets

from distillery.api.validation import load_job
from distillery.stages.dataset.similarity import words

EXAMPLE = Path(tickets.__file__).parent
JOB = load_job((EXAMPLE / "job.yaml").read_bytes(), file="job.yaml")


def test_the_labels_are_the_categories_that_are_generated_and_described():
    described = tomllib.loads((EXAMPLE / "descriptions.toml").read_text(encoding="utf-8"))
    assert JOB.spec.task.output.labels == list(tickets.CATEGORIES)
    assert list(described) == list(tickets.CATEGORIES)
    assert {category: 16 <= len(set(texts)) <= 22 for category, texts in described.items()} == dict.fromkeys(
        tickets.CATEGORIES, True
    )


def test_every_column_that_the_job_names_is_generated():
    row = tickets.generate(1, 1)[0]
    dataset = JOB.spec.dataset
    named = {dataset.id, dataset.reference, dataset.group_by}
    named |= {part.by_column for part in dataset.slices if part.by_column}
    named |= {column for part in dataset.slices for column in part.where or {}}
    assert named <= set(row)
    assert dataset.input.format(**row) == f"{row['subject']}\n{row['body']}"


def test_the_teacher_in_the_job_is_the_one_that_is_served():
    assert JOB.spec.teacher.model == answering.MODEL
    assert JOB.spec.teacher.identity is not None
    assert JOB.spec.teacher.parameters.top_logprobs == len(tickets.CATEGORIES)
    assert JOB.spec.teacher.parameters.max_tokens >= len(answering.REFUSAL)


def test_about_six_thousand_tickets_are_no_near_duplicates():
    threshold = JOB.spec.dataset.deduplicate.near
    rows = tickets.generate(tickets.ROWS, seed=1)
    kept = distinct([f"{row['subject']}\n{row['body']}" for row in rows], threshold)
    assert 5700 < kept < 6200


def distinct(texts: list[str], threshold: float) -> int:
    """Count the texts that resemble none before them, by way of an index of trigrams."""
    index: dict[tuple[str, ...], list[int]] = {}
    sizes: list[int] = []
    for text in texts:
        found = words(text)
        trigrams = {tuple(found[at : at + 3]) for at in range(max(1, len(found) - 2))}
        shared = Counter(at for trigram in trigrams for at in index.get(trigram, ()))
        if any(both >= threshold * (len(trigrams) + sizes[at] - both) for at, both in shared.items()):
            continue
        for trigram in trigrams:
            index.setdefault(trigram, []).append(len(sizes))
        sizes.append(len(trigrams))
    return len(sizes)

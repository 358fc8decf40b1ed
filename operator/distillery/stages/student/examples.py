"""Kept rows → tokenised examples: what the student reads, what it should answer; too long rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from distillery.api.v1alpha1.student import Loss
from distillery.api.v1alpha1.task import Output
from distillery.errors import StageFailed
from distillery.modeling.label_tree import LabelTree
from distillery.modeling.loss import Target, answer_target, label_target
from distillery.modeling.templates import Chat
from distillery.rules.prompts import render

MIN_MASS = 1e-5
"""Smaller soft labels are dropped: they hardly change the loss, but each would cost tree nodes."""

Split = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Example:
    """One row. `label` is the answered label's index, None without labels; `soft` sums to 1 or is empty."""

    row_id: str
    prompt: list[int]
    target: Target
    copies: int
    label: int | None
    soft: dict[int, float]

    @property
    def length(self) -> int:
        """Columns that the row takes in a batch."""
        return len(self.prompt) + self.target.tree.size - 1


@dataclass(frozen=True, slots=True)
class Examples:
    """The rows of one split in the table's order, and those that are too long as (row id, tokens)."""

    kept: list[Example]
    too_long: list[tuple[str, int]]

    @property
    def soft_coverage(self) -> float:
        """Share of the kept rows that have soft labels."""
        return sum(1 for example in self.kept if example.soft) / max(1, len(self.kept))


class ExampleMaker:
    """Turns rows of the filter's table into examples of one task."""

    def __init__(
        self, chat: Chat, system_prompt: str | None, output: Output, loss: Loss, max_length: int | None
    ) -> None:
        """Tokenise the task's labels. Raises: SpecError for labels that the tokenizer cannot tell apart."""
        self._chat, self._system_prompt, self._loss, self._max_length = chat, system_prompt, loss, max_length
        self.labels = tuple(output.labels or ()) if output.format == "label" else ()
        self._position = {label: index for index, label in enumerate(self.labels)}
        self.label_ids = chat.labels(self.labels)
        self._tree = LabelTree.build(self.label_ids, chat.end) if self.labels else None

    def make(self, rows: Sequence[Mapping[str, Any]], split: Split) -> Examples:
        """Return the examples of a split. Raises: StageFailed for an answer that is none of the labels."""
        chosen = [row for row in rows if row["split"] == split]
        prompts = self._chat.prompts([render(self._system_prompt, row["messages"]) for row in chosen])
        made = Examples([], [])
        for row, prompt in zip(chosen, prompts, strict=True):
            example, answer_tokens = self._example(row, prompt)
            tokens = len(prompt) + answer_tokens
            if self._max_length is not None and tokens > self._max_length:
                made.too_long.append((row["row_id"], tokens))
            else:
                made.kept.append(example)
        return made

    def _example(self, row: Mapping[str, Any], prompt: list[int]) -> tuple[Example, int]:
        if self._tree is None:
            ids = self._chat.answer(row["answer"])
            target = answer_target(ids, self._chat.end, self._loss.hard + self._loss.soft)
            return Example(row["row_id"], prompt, target, row["copies"], None, {}), len(ids)
        label = self._position.get(row["answer"])
        if label is None:
            problem = (
                f"row {row['row_id']} has the answer {row['answer']!r}, which is none of the task's labels"
            )
            raise StageFailed("ArtifactCorrupt", f"{problem}: run the filter stage again")
        soft = clean(row["soft"]) if self._loss.soft > 0 else {}
        target = label_target(self._tree, label, soft, self._loss.hard, self._loss.soft)
        # Every label is going to be scored after the prompt, so the longest one has to fit.
        room = max(len(ids) for ids in self.label_ids)
        return Example(row["row_id"], prompt, target, row["copies"], label, soft), room


def clean(soft: Sequence[float] | None) -> dict[int, float]:
    """Return label index → probability, summing to 1; empty for no soft label."""
    kept = {index: float(value) for index, value in enumerate(soft or ()) if value >= MIN_MASS}
    total = sum(kept.values())
    return {index: value / total for index, value in kept.items()}


def texts_of(rows: Sequence[Mapping[str, Any]], system_prompt: str | None) -> list[str]:
    """Return all that the training rows say, prompts and answers, for training a tokenizer."""
    texts: list[str] = []
    for row in rows:
        if row["split"] == "train":
            texts.extend(message["content"] for message in render(system_prompt, row["messages"]))
            texts.append(row["answer"])
    return texts


def require_rows(examples: Examples, soft_weight: float) -> None:
    """Raise StageFailed if there is nothing to train on, or soft labels are demanded and no row has any."""
    if not examples.kept and examples.too_long:
        shortest = min(tokens for _, tokens in examples.too_long)
        problem = (
            f"all {len(examples.too_long)} training rows are too long; the shortest has {shortest} tokens"
        )
        raise StageFailed(
            "RowsTooLong", f"{problem}: raise student.maxLength or start from a model that takes more"
        )
    if not examples.kept:
        raise StageFailed(
            "NoTrainingRows", "the filter kept no training rows: see its counts for the reasons"
        )
    if soft_weight > 0 and examples.soft_coverage == 0:
        problem = (
            f"student.loss.soft is {soft_weight:g}, but none of {len(examples.kept)} training rows has any"
        )
        repair = "write `loss: {hard: 1, soft: 0}`, or set teacher.parameters.topLogprobs for a label task"
        raise StageFailed("NoSoftLabels", f"{problem}: {repair}")

"""Looks at the validation split: the training loss, unweighted by copies, and agreement with the teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from distillery.api.v1alpha1.student import Loss
from distillery.modeling.loss import Target, edge_log_probs
from distillery.modeling.packing import Layout, cut, forward, lay_out
from distillery.modeling.scoring import LabelScorer
from distillery.stages.student.examples import Example
from distillery.stages.student.team import Team


@dataclass(frozen=True, slots=True)
class Look:
    """One evaluation: mean loss per answer token, and the share of rows answered as the teacher did."""

    loss: float
    agreement: float


class Validator:
    """Evaluates one model on the same rows again and again."""

    def __init__(
        self,
        model: Any,
        examples: Sequence[Example],
        pad: int,
        batch_size: int,
        packed: bool,
        team: Team,
    ) -> None:
        """Keep this process's share of the rows; `packed` as found by `takes_tree_mask`."""
        self._model, self._pad, self._batch_size, self._packed = model, pad, batch_size, packed
        self._team = team
        self._examples = team.share(sorted(examples, key=lambda example: (example.length, example.row_id)))
        self._tokens, self._rows = sum(example.target.tokens for example in examples), len(examples)

    def labels(self, scorer: LabelScorer, loss: Loss) -> Look:
        """Evaluate a label task; the student's answer is the label of the highest score, as in use."""
        self._model.eval()
        scores = scorer.score([example.prompt for example in self._examples], self._batch_size)
        self._model.train()
        total, agreed = 0.0, 0
        for example, row in zip(self._examples, scores.tolist(), strict=True):
            assert example.label is not None
            hard = loss.hard if example.soft else loss.hard + loss.soft
            total -= hard * row[example.label]
            total += loss.soft * sum(q * (math.log(q) - row[label]) for label, q in example.soft.items())
            agreed += max(range(len(row)), key=row.__getitem__) == example.label
        return self._look(total, agreed)

    def answers(self) -> Look:
        """Evaluate a text or json task.

        A row agrees if every answer token and the end are the likeliest next token: exactly then greedy
        decoding gives the teacher's answer, so nothing has to be generated.
        """
        self._model.eval()
        total, agreed = 0.0, 0
        lengths = [len(example.prompt) for example in self._examples]
        trees = [example.target.tree for example in self._examples]
        vocabulary = self._model.config.vocab_size
        for run in cut(lengths, trees, vocabulary, packed=self._packed, most=self._batch_size):
            batch = self._examples[run]
            loss, same = self._pass(
                [example.prompt for example in batch], [example.target for example in batch]
            )
            total, agreed = total + loss, agreed + same
        self._model.train()
        return self._look(total, agreed)

    def _look(self, total: float, agreed: int) -> Look:
        total, agreements = self._team.sum(total, agreed)
        return Look(total / self._tokens, agreements / self._rows)

    def _pass(self, prompts: Sequence[Sequence[int]], targets: Sequence[Target]) -> tuple[float, int]:
        trees = [target.tree for target in targets]
        layout = lay_out(prompts, trees, self._pad, packed=self._packed, dtype=self._model.dtype)
        with torch.inference_mode():
            logits = forward(self._model, layout)
            log_probs = edge_log_probs(logits, layout.index, [target.edges for target in targets])
        weights = torch.tensor(
            [weight for target in targets for weight in target.weights], dtype=torch.float64
        )
        same = sum(_greedy(logits, layout, row, target) for row, target in enumerate(targets))
        return -float(log_probs.double() @ weights), same


def _greedy(logits: torch.Tensor, layout: Layout, row: int, target: Target) -> bool:
    nodes = layout.index[row, [edge.node for edge in target.edges]]
    return logits[nodes].argmax(dim=-1).tolist() == [edge.token for edge in target.edges]

"""Scores every label of a task for a batch of prompts: log p(label) = Σ log p(its tokens and the end)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distillery.modeling.label_tree import LabelTree, TokenTree
from distillery.modeling.loss import edge_log_probs
from distillery.modeling.packing import cut, forward, lay_out

MAX_NODES = 256
"""Nodes of one pass; a task with a larger tree is scored in groups of labels."""


@dataclass(frozen=True, slots=True)
class _Group:
    labels: LabelTree
    members: list[int]
    path_matrix: Tensor
    """[edges, labels of the group], 1 where the edge is on the label's path."""


class LabelScorer:
    """Scores the labels of one task with one model, all of them in one forward pass per batch."""

    def __init__(
        self, model: Any, labels: Sequence[Sequence[int]], end: int, pad: int, *, packed: bool
    ) -> None:
        """Build the trees; `labels` are tokens without the end. Raises: ValueError as `LabelTree.build`."""
        self.model, self.pad, self.packed = model, pad, packed
        self.vocabulary = int(model.config.vocab_size)
        self.count = len(labels)
        self.longest = max(len(ids) for ids in labels)
        self.groups = []
        for members in LabelTree.build(labels, end).groups(MAX_NODES):
            tree = LabelTree.build([labels[label] for label in members], end)
            self.groups.append(_Group(tree, members, path_matrix(tree)))

    def score(self, prompts: Sequence[Sequence[int]], batch_size: int) -> Tensor:
        """Return log p(label | prompt), [prompts, labels] float64, not normalised over the labels.

        Prompts of similar length share a pass, so that little is spent on padding.
        """
        scores = torch.empty((len(prompts), self.count), dtype=torch.float64)
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), row))
        lengths = [len(prompts[row]) for row in order]
        for group in self.groups:
            trees = [group.labels.tree] * len(order)
            for run in cut(lengths, trees, self.vocabulary, packed=self.packed, most=batch_size):
                rows = order[run]
                scored = self._pass([prompts[row] for row in rows], group)
                scores[torch.tensor(rows)[:, None], torch.tensor(group.members)[None, :]] = scored
        return scores

    def _pass(self, prompts: Sequence[Sequence[int]], group: _Group) -> Tensor:
        trees: list[TokenTree] = [group.labels.tree] * len(prompts)
        layout = lay_out(prompts, trees, self.pad, packed=self.packed, dtype=self.model.dtype)
        with torch.inference_mode():
            logits = forward(self.model, layout)
            edges = edge_log_probs(logits, layout.index, [group.labels.edges] * len(prompts))
            return edges.double().reshape(len(prompts), -1) @ group.path_matrix


def path_matrix(labels: LabelTree) -> Tensor:
    """Return [edges, labels] float64 with 1 where an edge lies on a label's path."""
    matrix = torch.zeros((len(labels.edges), len(labels.paths)), dtype=torch.float64)
    for label, path in enumerate(labels.paths):
        matrix[list(path), label] = 1.0
    return matrix

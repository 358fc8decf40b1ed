"""The training loss: one weighted sum over edges of token trees, for hard answers, soft labels, or both.

Hard: cross-entropy on the answer's tokens and its end. Soft: forward KL from the teacher's distribution q
over the labels to the student's p, laid on the labels' token tree by the chain rule (see
`LabelTree.edge_masses`). Each conditional of p is a softmax over the *whole* vocabulary, not over the node's
children: p(label) is then what unconstrained decoding would give, mass on invalid answers costs loss, and the
student learns to answer validly. Both parts are in nats per row, so their weights compare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distillery.modeling.label_tree import Edge, LabelTree, TokenTree, chain


@dataclass(frozen=True, slots=True)
class Target:
    """What one row asks of the student: loss = Σ weights · (−log p(edge)) − entropy.

    `tokens` counts answer and end tokens: what a sum of losses is divided by to give the mean per token.
    """

    tree: TokenTree
    edges: tuple[Edge, ...]
    weights: tuple[float, ...]
    entropy: float
    tokens: int


def answer_target(answer: Sequence[int], end: int, weight: float) -> Target:
    """Return the target of a row that has an answer only; its tokens all weigh `weight`."""
    tree, edges = chain(answer, end)
    return Target(tree, edges, (weight,) * len(edges), 0.0, len(edges))


def label_target(labels: LabelTree, answer: int, soft: Mapping[int, float], hard: float, kl: float) -> Target:
    """Return the target of a label row.

    Args:
        labels: the task's label tree.
        answer: index of the answered label.
        soft: label index → teacher's probability, positive and summing to 1; empty without soft labels, and
        then the
            answer gets the weight of both parts.
        hard: weight of the cross-entropy.
        kl: weight of the forward KL.
    """
    tokens = len(labels.paths[answer])
    weights = dict.fromkeys(labels.paths[answer], hard if soft else hard + kl)
    entropy = 0.0
    if soft:
        for edge, mass in labels.edge_masses(soft).items():
            weights[edge] = weights.get(edge, 0.0) + kl * mass
        entropy = -kl * sum(q * math.log(q) for q in soft.values() if q > 0)
    return Target(*labels.restrict(weights), entropy=entropy, tokens=tokens)


def edge_log_probs(logits: Tensor, index: Tensor, edges: Sequence[Sequence[Edge]]) -> Tensor:
    """Return log p(token | node) of every row's edges, rows in order, as one vector.

    Args:
        logits: [positions, vocabulary].
        index: position of row b's node n, [B, nodes].
        edges: the edges of each row.
    """
    rows = [row for row, own in enumerate(edges) for _ in own]
    nodes = [edge.node for own in edges for edge in own]
    tokens = torch.tensor([edge.token for own in edges for edge in own])
    # Siblings share their node's normaliser, so it is computed once per node.
    used, inverse = torch.unique(index[rows, nodes], return_inverse=True)
    chosen = logits.index_select(0, used.to(logits.device))
    chosen = chosen if chosen.dtype == torch.float64 else chosen.float()
    normalisers = torch.logsumexp(chosen, dim=-1)
    return chosen[inverse, tokens] - normalisers[inverse]


def loss_sum(logits: Tensor, index: Tensor, targets: Sequence[Target]) -> Tensor:
    """Return the summed loss of a batch as a scalar tensor.

    The caller divides by the targets' `tokens` over the *whole* optimizer step; that makes the gradient
    independent of how the step is cut into passes.
    """
    log_probs = edge_log_probs(logits, index, [target.edges for target in targets])
    weights = torch.tensor([weight for target in targets for weight in target.weights], dtype=log_probs.dtype)
    return -(log_probs @ weights.to(log_probs.device)) - sum(target.entropy for target in targets)

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from distillery.modeling.label_tree import LabelTree
from distillery.modeling.loss import Target, answer_target, edge_log_probs, label_target, loss_sum
from distillery.modeling.packing import forward, lay_out
from modeling.small import tiny_model

END, VOCABULARY = 1, 12
LABELS = [[2], [2, 3], [4, 5, 6], [4, 7]]
TREE = LabelTree.build(LABELS, END)


def dense_kl(logits: torch.Tensor, soft: dict[int, float]) -> torch.Tensor:
    """The reference: at every node a dense target over the whole vocabulary, KL(target ‖ softmax), times its mass."""
    nodes: dict[int, torch.Tensor] = {}
    for label, mass in soft.items():
        for edge in TREE.paths[label]:
            target = nodes.setdefault(TREE.edges[edge].node, torch.zeros(VOCABULARY, dtype=torch.float64))
            target[TREE.edges[edge].token] += mass
    total = torch.zeros((), dtype=torch.float64)
    for node, target in nodes.items():
        mass = target.sum()
        q = target / mass
        log_p = torch.log_softmax(logits[node], dim=-1)
        kept = q > 0
        total = total + mass * (q[kept] * (q[kept].log() - log_p[kept])).sum()
    return total


distributions = st.dictionaries(st.integers(0, 3), st.floats(0.01, 1.0), min_size=1, max_size=4).map(
    lambda raw: {label: value / sum(raw.values()) for label, value in raw.items()}
)


@settings(max_examples=40, deadline=None)
@given(distributions, st.integers(0, 10_000))
def test_soft_loss_and_gradient_equal_the_dense_reference(soft: dict[int, float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((TREE.tree.size, VOCABULARY), generator=generator, dtype=torch.float64) * 3
    ours, reference = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    target = label_target(TREE, 0, soft, hard=0.0, kl=1.0)
    kept = sorted({TREE.edges[edge].node for label in soft for edge in TREE.paths[label]})
    loss = loss_sum(ours, torch.tensor([kept]), [target])
    expected = dense_kl(reference, soft)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)
    assert ours.grad is not None
    assert reference.grad is not None
    assert (ours.grad - reference.grad).abs().max().item() <= 1e-6
    assert loss.item() >= -1e-9


def test_the_soft_loss_is_the_kl_over_labels() -> None:
    logits = torch.randn((TREE.tree.size, VOCABULARY), generator=torch.Generator().manual_seed(1)).double()
    log_p = torch.log_softmax(logits, dim=-1)
    scores = [
        sum(log_p[TREE.edges[edge].node, TREE.edges[edge].token] for edge in path) for path in TREE.paths
    ]
    q = [0.1, 0.2, 0.3, 0.4]
    over_labels = sum(
        value * (torch.log(torch.tensor(value)) - score) for value, score in zip(q, scores, strict=True)
    )
    target = label_target(TREE, 2, dict(enumerate(q)), hard=0.0, kl=1.0)
    loss = loss_sum(logits, torch.arange(TREE.tree.size)[None], [target])
    torch.testing.assert_close(loss, over_labels, atol=1e-6, rtol=1e-6, check_dtype=False)


def test_the_hard_loss_is_cross_entropy_on_the_answer_and_its_end() -> None:
    answer = [4, 5, 6]
    logits = torch.randn((4, VOCABULARY), generator=torch.Generator().manual_seed(2)).double()
    target = answer_target(answer, END, 1.0)
    assert target.tokens == 4
    loss = loss_sum(logits, torch.arange(4)[None], [target])
    torch.testing.assert_close(loss, cross_entropy(logits, torch.tensor([*answer, END]), reduction="sum"))


def test_a_certain_teacher_makes_the_soft_loss_the_hard_one() -> None:
    assert label_target(TREE, 1, {1: 1.0}, 0.0, 1.0) == label_target(TREE, 1, {}, 1.0, 0.0)


def test_a_row_without_soft_labels_gives_both_weights_to_its_answer() -> None:
    target = label_target(TREE, 1, {}, hard=0.25, kl=0.5)
    assert target == Target(*TREE.restrict(dict.fromkeys(TREE.paths[1], 0.75)), entropy=0.0, tokens=3)


def test_mass_on_invalid_tokens_costs_loss() -> None:
    """The conditionals are over the whole vocabulary: what is no label is pushed down."""
    logits = torch.zeros((TREE.tree.size, VOCABULARY), dtype=torch.float64, requires_grad=True)
    target = label_target(TREE, 0, {0: 0.5, 2: 0.5}, hard=0.0, kl=1.0)
    loss_sum(logits, torch.arange(TREE.tree.size)[None], [target]).backward()
    assert logits.grad is not None
    assert bool((logits.grad[0, 8:] > 0).all())  # tokens that begin no label


def test_one_pass_of_eight_rows_has_the_gradient_of_eight_passes_of_one() -> None:
    model = tiny_model(vocab_size=64).double()
    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(10, 64, (length,), generator=generator).tolist() for length in range(3, 11)]
    soft = [{0: 0.7, 3: 0.3}, {}] * 4
    targets = [label_target(TREE, row % 4, soft[row], 0.5, 0.5) for row in range(8)]
    tokens = sum(target.tokens for target in targets)

    def gradient(size: int) -> torch.Tensor:
        model.zero_grad()
        for start in range(0, 8, size):
            chosen = targets[start : start + size]
            layout = lay_out(
                prompts[start : start + size], [t.tree for t in chosen], 0, packed=True, dtype=torch.float64
            )
            (loss_sum(forward(model, layout), layout.index, chosen) / tokens).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    assert (gradient(8) - gradient(1)).abs().max().item() <= 1e-10


def test_edges_come_back_in_the_order_of_rows() -> None:
    logits = torch.log_softmax(
        torch.randn((6, VOCABULARY), generator=torch.Generator().manual_seed(4)), dim=-1
    )
    index = torch.tensor([[0, 1, 2], [3, 4, 5]])
    first, second = answer_target([2], END, 1.0), answer_target([5, 6], END, 1.0)
    found = edge_log_probs(logits, index, [first.edges, second.edges])
    expected = [logits[0, 2], logits[1, END], logits[3, 5], logits[4, 6], logits[5, END]]
    torch.testing.assert_close(found, torch.stack(expected))

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.modeling.label_tree import Edge, LabelTree, TokenTree, chain

END = 99
label_sets = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple), min_size=1, max_size=12, unique=True
)


def test_labels_share_their_beginnings_and_end_separately() -> None:
    tree = LabelTree.build([[5], [5, 6], [7]], END)
    assert tree == LabelTree(
        TokenTree(tokens=(-1, 5, 6, 7), parents=(0, 0, 1, 0)),
        edges=(Edge(0, 5), Edge(1, END), Edge(1, 6), Edge(2, END), Edge(0, 7), Edge(3, END)),
        paths=((0, 1), (0, 2, 3), (4, 5)),
    )
    assert tree.tree.depths() == [0, 1, 2, 1]
    assert tree.tree.leaves() == [2, 3]


def test_a_chain_is_the_tree_of_one_answer() -> None:
    assert chain([4, 2], END) == (TokenTree((-1, 4, 2), (0, 0, 1)), (Edge(0, 4), Edge(1, 2), Edge(2, END)))
    assert chain([], END) == (TokenTree((-1,), (0,)), (Edge(0, END),))


@pytest.mark.parametrize("labels", [[[]], [[1], [1]], [[1, END]]])
def test_labels_that_cannot_be_told_apart_are_refused(labels: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="empty, repeated or contain the end token"):
        LabelTree.build(labels, END)


@given(label_sets, st.randoms(use_true_random=False))
def test_the_kl_over_labels_is_the_weighted_sum_over_nodes(
    labels: list[tuple[int, ...]], rng: object
) -> None:
    """Σ q log(q/p) over labels = Σ over nodes of mass(node) × KL of its conditional (the chain rule)."""
    draw = rng.random  # type: ignore[attr-defined]
    tree = LabelTree.build(labels, END)
    q = [draw() + 1e-3 for _ in labels]
    q = [value / sum(q) for value in q]
    conditional = [0.05 + 0.9 * draw() for _ in tree.edges]  # need not sum to 1: the vocabulary is larger
    p = [math.prod(conditional[edge] for edge in path) for path in tree.paths]
    over_labels = sum(q_l * math.log(q_l / p_l) for q_l, p_l in zip(q, p, strict=True))
    masses = tree.edge_masses(dict(enumerate(q)))
    at_node: dict[int, float] = {}
    for edge, mass in masses.items():
        at_node[tree.edges[edge].node] = at_node.get(tree.edges[edge].node, 0.0) + mass
    over_nodes = 0.0
    for edge, mass in masses.items():
        inside = at_node[tree.edges[edge].node]
        over_nodes += inside * (mass / inside) * math.log(mass / inside / conditional[edge])
    assert over_nodes == pytest.approx(over_labels, abs=1e-9)
    entropy = -sum(value * math.log(value) for value in q)
    over_edges = -sum(mass * math.log(conditional[edge]) for edge, mass in masses.items()) - entropy
    assert over_edges == pytest.approx(over_labels, abs=1e-9)


@given(label_sets, st.data())
def test_a_restricted_tree_keeps_the_wanted_labels_and_nothing_else(
    labels: list[tuple[int, ...]], data: st.DataObject
) -> None:
    tree = LabelTree.build(labels, END)
    wanted = data.draw(st.sets(st.sampled_from(range(len(labels))), min_size=1))
    small, edges, weights = tree.restrict(tree.edge_masses(dict.fromkeys(wanted, 0.5)))
    alone = LabelTree.build([labels[label] for label in sorted(wanted)], END)
    assert small.size == alone.tree.size
    assert len(edges) == len(alone.edges) == len(weights)

    def words(shape: TokenTree, own: tuple[Edge, ...]) -> set[tuple[int, ...]]:
        found = set()
        for edge in own:
            word, node = [edge.token], edge.node
            while node:
                word.insert(0, shape.tokens[node])
                node = shape.parents[node]
            found.add(tuple(word))
        return found

    assert words(small, edges) == words(alone.tree, alone.edges)
    assert all(parent < node for node, parent in enumerate(small.parents) if node)


@given(label_sets, st.integers(2, 20))
def test_groups_hold_every_label_once_and_stay_within_their_size(
    labels: list[tuple[int, ...]], max_nodes: int
) -> None:
    tree = LabelTree.build(labels, END)
    groups = tree.groups(max_nodes)
    assert sorted(label for group in groups for label in group) == list(range(len(labels)))
    for group in groups:
        size = LabelTree.build([labels[label] for label in group], END).tree.size
        assert size <= max_nodes or len(group) == 1

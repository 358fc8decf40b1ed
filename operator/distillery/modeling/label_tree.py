"""The token tree of a task's labels: one shape for soft targets in training and for label scores afterwards.

A label answers with its tokens and then the end token, so p(label | prompt) is a product of conditionals
along one path of the tree, and labels that share a beginning share its conditionals. Node 0 is the root: the
position of the prompt's last token. Node n > 0 is the position of `tokens[n]`, which follows the node
`parents[n]`. An edge (node, token) is one conditional p(token | prompt, path to node); the end token gives an
edge but no node, since nothing follows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROOT = 0
NO_TOKEN = -1


@dataclass(frozen=True, slots=True)
class TokenTree:
    """What may follow a prompt. Parents stand before children; `tokens[0]` is NO_TOKEN, `parents[0]` is 0."""

    tokens: tuple[int, ...]
    parents: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of nodes, root included."""
        return len(self.tokens)

    def depths(self) -> list[int]:
        """Return the distance of every node from the root."""
        depths = [0] * self.size
        for node in range(1, self.size):
            depths[node] = depths[self.parents[node]] + 1
        return depths

    def leaves(self) -> list[int]:
        """Return the nodes without children, in order; the root alone is a leaf."""
        inner = set(self.parents[1:])
        return [node for node in range(self.size) if node not in inner]


@dataclass(frozen=True, slots=True)
class Edge:
    """One conditional: `token` after `node`."""

    node: int
    token: int


def chain(tokens: Sequence[int], end: int) -> tuple[TokenTree, tuple[Edge, ...]]:
    """Return the tree of a single answer, and its edges with the end token last."""
    tree = TokenTree((NO_TOKEN, *tokens), (ROOT, *range(len(tokens))))
    return tree, tuple(Edge(node, token) for node, token in enumerate([*tokens, end]))


@dataclass(frozen=True, slots=True)
class LabelTree:
    """The token tree of all labels; `paths[i]` are the indices into `edges` whose product is p(label i)."""

    tree: TokenTree
    edges: tuple[Edge, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def build(cls, labels: Sequence[Sequence[int]], end: int) -> LabelTree:
        """Build from the labels' token ids, without the end token.

        Raises: ValueError for an empty label, a repeated one, or one that contains the end token.
        """
        seen: set[tuple[int, ...]] = set()
        for ids in labels:
            if not ids or end in ids or tuple(ids) in seen:
                raise ValueError(f"label tokens {list(ids)} are empty, repeated or contain the end token")
            seen.add(tuple(ids))
        tokens, parents, children = [NO_TOKEN], [ROOT], dict[Edge, int]()
        edges: dict[Edge, int] = {}
        paths = []
        for ids in labels:
            node, path = ROOT, []
            for token in ids:
                edge = Edge(node, token)
                path.append(edges.setdefault(edge, len(edges)))
                if edge not in children:
                    children[edge] = len(tokens)
                    tokens.append(token)
                    parents.append(node)
                node = children[edge]
            path.append(edges.setdefault(Edge(node, end), len(edges)))
            paths.append(tuple(path))
        return cls(TokenTree(tuple(tokens), tuple(parents)), tuple(edges), tuple(paths))

    def edge_masses(self, distribution: Mapping[int, float]) -> dict[int, float]:
        """Return edge → probability of the labels behind it, for a sparse distribution label → probability.

        By the chain rule Σ_labels q log(q / p) = Σ_nodes mass(node) · KL(q(· | node) ‖ p(· | node)), and that
        is Σ_edges mass(edge) · (−log p(edge)) less the entropy of q: the edges of positive mass are all that
        training needs, however many labels there are.
        """
        masses: dict[int, float] = {}
        for label, probability in distribution.items():
            for edge in self.paths[label]:
                masses[edge] = masses.get(edge, 0.0) + probability
        return masses

    def restrict(self, weights: Mapping[int, float]) -> tuple[TokenTree, tuple[Edge, ...], tuple[float, ...]]:
        """Return the smallest tree that carries the weighted edges, its edges, and their weights."""
        chosen = sorted(edge for edge, weight in weights.items() if weight > 0)
        nodes = {ROOT}
        for edge in chosen:
            node = self.edges[edge].node
            while node not in nodes:
                nodes.add(node)
                node = self.tree.parents[node]
        order = sorted(nodes)
        number = {node: position for position, node in enumerate(order)}
        tree = TokenTree(
            tuple(self.tree.tokens[node] for node in order),
            tuple(number[self.tree.parents[node]] for node in order),
        )
        edges = tuple(Edge(number[self.edges[edge].node], self.edges[edge].token) for edge in chosen)
        return tree, edges, tuple(weights[edge] for edge in chosen)

    def groups(self, max_nodes: int) -> list[list[int]]:
        """Split the labels into groups of at most `max_nodes` nodes each, neighbours in the tree together."""
        order = sorted(range(len(self.paths)), key=lambda label: self.paths[label])
        groups: list[list[int]] = [[]]
        nodes: set[int] = {ROOT}
        for label in order:
            wanted = {self.edges[edge].node for edge in self.paths[label]}
            if groups[-1] and len(nodes | wanted) > max_nodes:
                groups.append([])
                nodes = {ROOT}
            groups[-1].append(label)
            nodes |= wanted
        return groups

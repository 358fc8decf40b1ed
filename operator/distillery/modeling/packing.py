"""Lays prompts and token trees out as a batch: one forward pass gives every conditional of a tree.

Two layouts answer the same question. *Packed*: prompts padded on the left, the tree's nodes behind them, each
node seeing its prompt and its ancestors only and standing at its own depth (tree attention, as in SpecInfer,
Miao et al. 2024); the logits wanted are the last columns of every row. *Chains*: one row per leaf, padded on
the right; for models whose attention does not take a mask of our own (`takes_tree_mask` finds out).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distillery.modeling.label_tree import ROOT, TokenTree, chain

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_ATTENTION = 1 << 23
"""Rows × columns² of one forward pass: bounds the mask (32 MiB) and the attention scores."""
MAX_LOGITS = 1 << 26
"""Positions × vocabulary of one forward pass: bounds the logits (256 MiB)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch ready for the model. `index[b, n]` is the row of the logits that belongs to node n of row b."""

    inputs: dict[str, Any]
    index: Tensor


def forward(model: torch.nn.Module, layout: Layout) -> Tensor:
    """Run the model and return its logits as [positions, vocabulary], counted as in `layout.index`."""
    logits: Tensor = model(**layout.inputs, use_cache=False).logits
    return logits.reshape(-1, logits.shape[-1])


def lay_out(
    prompts: Sequence[Sequence[int]],
    trees: Sequence[TokenTree],
    pad: int,
    *,
    packed: bool,
    dtype: torch.dtype,
) -> Layout:
    """Return the layout of prompts [B] and the trees [B] that follow them; `pad` is any valid token id."""
    if packed:
        return _packed(prompts, trees, pad, dtype)
    return _chains(prompts, trees, pad)


def cut(
    lengths: Sequence[int], trees: Sequence[TokenTree], vocabulary: int, *, packed: bool, most: int
) -> list[slice]:
    """Cut rows into runs that fit into one forward pass each, a row at least.

    Args:
        lengths: prompt length of each row, best sorted, since a run is padded to its longest.
        trees: the tree behind each prompt.
        vocabulary: width of the logits.
        packed: the layout.
        most: rows of a run at most.
    """
    cuts, start = [], 0
    columns = nodes = rows = 0
    for row, (length, tree) in enumerate(zip(lengths, trees, strict=True)):
        columns, nodes = max(columns, length + tree.size), max(nodes, tree.size)
        rows += 1 if packed else len(tree.leaves())
        positions = rows * (nodes if packed else columns)
        full = rows * columns**2 > MAX_ATTENTION or positions * vocabulary > MAX_LOGITS
        if row > start and (full or row - start == most):
            cuts.append(slice(start, row))
            start, columns, nodes = row, length + tree.size, tree.size
            rows = 1 if packed else len(tree.leaves())
    if len(lengths) > start:
        cuts.append(slice(start, len(lengths)))
    return cuts


def _packed(
    prompts: Sequence[Sequence[int]], trees: Sequence[TokenTree], pad: int, dtype: torch.dtype
) -> Layout:
    rows, nodes = len(prompts), max(tree.size for tree in trees)
    longest = max(len(prompt) for prompt in prompts)
    width = longest + nodes - 1
    ids = np.full((rows, width), pad, dtype=np.int64)
    positions = np.zeros((rows, width), dtype=np.int64)
    seen = np.zeros((rows, width, width), dtype=np.bool_)
    start = np.array([longest - len(prompt) for prompt in prompts])
    real = np.arange(longest)[None, :] >= start[:, None]
    seen[:, :longest, :longest] = np.tri(longest, dtype=np.bool_) & real[:, None, :]
    seen[:, longest:, :longest] = real[:, None, :]
    positions[:, :longest] = np.maximum(np.arange(longest)[None, :] - start[:, None], 0)
    for row, (prompt, tree) in enumerate(zip(prompts, trees, strict=True)):
        stop = longest + tree.size - 1
        tokens, depths, ancestors = _tree_arrays(tree)
        ids[row, start[row] : longest] = prompt
        ids[row, longest:stop] = tokens
        positions[row, longest:stop] = depths + (len(prompt) - 1)
        seen[row, longest:stop, longest:stop] = ancestors
    # A column that may look at nothing would turn into NaN; what padding sees does not matter.
    seen[:, np.arange(width), np.arange(width)] = True
    mask = torch.zeros((rows, 1, width, width), dtype=dtype)
    mask.masked_fill_(torch.from_numpy(~seen)[:, None], torch.finfo(dtype).min)
    inputs = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": mask,
        "position_ids": torch.from_numpy(positions),
        "logits_to_keep": nodes,
    }
    return Layout(inputs, torch.arange(rows * nodes).reshape(rows, nodes))


def _tree_arrays(tree: TokenTree) -> tuple[IntArray, IntArray, BoolArray]:
    """Return tokens, depths and ancestor matrix (a node is its own ancestor) of the nodes below the root."""
    if any(parent != node for node, parent in enumerate(tree.parents[1:])):
        return _forked_arrays(tree)
    tokens = np.array(tree.tokens[1:], np.int64)
    return tokens, np.arange(1, tree.size, dtype=np.int64), np.tri(tree.size - 1, dtype=np.bool_)


@lru_cache(maxsize=64)
def _forked_arrays(tree: TokenTree) -> tuple[IntArray, IntArray, BoolArray]:
    """Return the same for a tree of labels, which all rows share; the chain of a text is its row's own."""
    below = tree.size - 1
    ancestors = np.eye(below, dtype=np.bool_)
    for node in range(1, tree.size):
        if tree.parents[node] != ROOT:
            ancestors[node - 1] |= ancestors[tree.parents[node] - 1]
    return np.array(tree.tokens[1:], np.int64), np.array(tree.depths()[1:], np.int64), ancestors


def _chains(prompts: Sequence[Sequence[int]], trees: Sequence[TokenTree], pad: int) -> Layout:
    rows: list[list[int]] = []
    places: list[dict[int, tuple[int, int]]] = []
    for prompt, tree in zip(prompts, trees, strict=True):
        place: dict[int, tuple[int, int]] = {}
        depths = tree.depths()
        for leaf in tree.leaves():
            path, node = [], leaf
            while node != ROOT:
                path.append(node)
                node = tree.parents[node]
            for node in (ROOT, *path):
                place.setdefault(node, (len(rows), len(prompt) - 1 + depths[node]))
            rows.append([*prompt, *(tree.tokens[node] for node in reversed(path))])
        places.append(place)
    width = max(len(row) for row in rows)
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    index = torch.zeros((len(prompts), max(tree.size for tree in trees)), dtype=torch.long)
    for number, place in enumerate(places):
        for node, (row, column) in place.items():
            index[number, node] = row * width + column
    return Layout({"input_ids": ids, "attention_mask": mask}, index)


def takes_tree_mask(model: Any, max_length: int | None) -> bool:
    """Say whether the packed layout gives this model the same logits as plain rows; tried on a few tokens.

    A mask of ours replaces the model's attention window too, so rows (up to `max_length` tokens) must fit into it.
    """
    window = attention_window(model.config)
    if window is not None and (max_length is None or max_length > window):
        return False
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return False
    vocabulary = int(model.config.vocab_size)
    ids = [(7 * position + 3) % vocabulary for position in range(9)]
    forked = TokenTree((-1, ids[0], ids[1], ids[2]), (0, 0, 0, 2))
    trees = [forked, chain(ids[4:6], 0)[0]]
    was_training = model.training
    model.eval()
    try:
        results = []
        for packed in (True, False):
            layout = lay_out([ids[:5], ids[5:8]], trees, 0, packed=packed, dtype=model.dtype)
            with torch.inference_mode():
                logits = forward(model, layout)
            nodes = [logits[layout.index[row, : tree.size]] for row, tree in enumerate(trees)]
            results.append(torch.cat(nodes).float())
    except (TypeError, ValueError, RuntimeError, IndexError):
        return False  # such a model has another idea of masks or positions
    finally:
        model.train(was_training)
    return bool(torch.allclose(results[0], results[1], atol=1e-3, rtol=1e-3))


def attention_window(config: Any) -> int | None:
    """Return how many tokens the narrowest layer of a model looks back, None if all look at everything."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and not any("sliding" in kind or "chunked" in kind for kind in kinds):
        return None
    if getattr(config, "use_sliding_window", True) is False:
        return None
    windows = [getattr(config, key, None) for key in ("sliding_window", "attention_chunk_size")]
    return min((int(window) for window in windows if window), default=None)

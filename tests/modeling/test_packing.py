from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from distillery.modeling import packing
from distillery.modeling.label_tree import LabelTree, TokenTree, chain
from distillery.modeling.packing import attention_window, cut, forward, lay_out, takes_tree_mask
from modeling.small import tiny_model

SMALL = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1},
    **{"num_hidden_layers": 2, "vocab_size": 400},
}
PROMPTS = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14]]
TREES = [
    LabelTree.build([[20], [20, 21], [22, 23, 24], [22, 25]], 1).tree,
    LabelTree.build([[30], [31]], 1).tree,
    chain([40, 41, 42, 43], 1)[0],
]


def node_logits(
    model: torch.nn.Module, prompts: list[list[int]], trees: list[TokenTree], packed: bool
) -> list[torch.Tensor]:
    layout = lay_out(prompts, trees, 0, packed=packed, dtype=torch.float32)
    with torch.inference_mode():
        logits = forward(model, layout)
    return [logits[layout.index[row, : tree.size]] for row, tree in enumerate(trees)]


def plain(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    """The model's own logits after `tokens`, with no padding, mask or positions of ours."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokens])).logits[0, -1]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model_type", "packed"),
    [
        *(("llama", True), ("gpt2", True), ("qwen3", True), ("opt", True)),
        *(("llama", False), ("mistral", False), ("bloom", False), ("mamba", False)),
    ],
)
def test_every_node_gets_the_logits_of_its_own_path(model_type: str, packed: bool) -> None:
    model = tiny_model(model_type)
    found = node_logits(model, PROMPTS, TREES, packed)
    for prompt, tree, logits in zip(PROMPTS, TREES, found, strict=True):
        for node in range(tree.size):
            path, at = [], node
            while at:
                path.insert(0, tree.tokens[at])
                at = tree.parents[at]
            torch.testing.assert_close(logits[node], plain(model, prompt + path), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("packed", [True, False])
def test_padding_changes_nothing(packed: bool) -> None:
    """A row among longer and shorter rows gives what it gives alone, whichever side is padded."""
    model = tiny_model()
    together = node_logits(model, PROMPTS, TREES, packed)
    for row, logits in enumerate(together):
        alone = node_logits(model, [PROMPTS[row]], [TREES[row]], packed)[0]
        torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.cat(together), torch.cat(node_logits(model, PROMPTS, TREES, not packed)), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("model_type", "takes"),
    [("llama", True), ("gpt2", True), ("qwen3", True), ("opt", True), ("bloom", False), ("mamba", False)],
)
def test_models_that_ignore_a_mask_of_ours_are_found_out(model_type: str, takes: bool) -> None:
    model = tiny_model(model_type).train()
    assert takes_tree_mask(model, 128) is takes
    assert model.training


def test_a_pass_holds_fewer_rows_the_longer_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_ATTENTION", 1000)
    one = chain([4], 1)[0]  # a column more than its prompt, and one for the answer
    lengths = [3, 3, 8, 8, 8, 8, 8, 48]
    runs = cut(lengths, [one] * 8, 10, packed=True, most=5)
    assert runs == [slice(0, 5), slice(5, 7), slice(7, 8)]
    assert cut([8] * 5, [TREES[1]] * 5, 10, packed=False, most=5) == [slice(0, 4), slice(4, 5)]
    monkeypatch.setattr(packing, "MAX_LOGITS", 3 * 2 * 100)
    assert cut([3] * 4, [one] * 4, 100, packed=True, most=9) == [slice(0, 3), slice(3, 4)]
    assert cut([], [], 100, packed=True, most=9) == []


@given(st.lists(st.integers(1, 3000), max_size=30), st.integers(1, 9), st.booleans())
def test_every_row_is_in_one_run(lengths: list[int], most: int, packed: bool) -> None:
    runs = cut(lengths, [TREES[0]] * len(lengths), 5000, packed=packed, most=most)
    assert [row for run in runs for row in range(run.start, run.stop)] == list(range(len(lengths)))
    for run in runs:
        rows, columns = run.stop - run.start, max(lengths[run]) + TREES[0].size
        assert 1 <= rows <= most
        assert rows == 1 or rows * columns**2 <= packing.MAX_ATTENTION


def test_a_model_with_a_window_takes_the_mask_only_for_rows_within_it() -> None:
    config = AutoConfig.for_model("mistral", sliding_window=64, **SMALL)
    model = AutoModelForCausalLM.from_config(config).eval()
    assert [takes_tree_mask(model, length) for length in (64, 65, None)] == [True, False, False]


@pytest.mark.parametrize(
    ("model_type", "keys", "window"),
    [
        ("llama", {}, None),
        ("mistral", {"sliding_window": None}, None),
        ("qwen3", {"sliding_window": 32}, None),
        ("qwen3", {"sliding_window": 32, "use_sliding_window": True, "max_window_layers": 1}, 32),
        ("gemma3_text", {"sliding_window": 16}, 16),
    ],
)
def test_the_window_is_read_from_the_configuration(
    model_type: str, keys: dict[str, Any], window: int | None
) -> None:
    assert attention_window(AutoConfig.for_model(model_type, num_hidden_layers=2, **keys)) == window


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_the_chain_of_a_text_is_laid_out_as_any_tree(tokens: list[int]) -> None:
    tree, _ = chain(tokens, 10)
    for quick, general in zip(
        packing._tree_arrays(tree), packing._forked_arrays.__wrapped__(tree), strict=True
    ):
        assert np.array_equal(quick, general)
        assert quick.dtype == general.dtype

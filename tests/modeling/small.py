"""Tiny models and tokenizers for tests: new weights, made in milliseconds."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from distillery.modeling.base import Student, quiet
from distillery.modeling.templates import Chat
from distillery.modeling.tokenizer import train_tokenizer

torch.set_num_threads(1)
quiet()

LABELS = ("billing", "login", "refund", "feature request", "feature", "bug report")
TEXTS = (
    "Route the ticket.",
    "hello, my invoice is wrong and the payment failed twice",
    "the login page hangs and my password is rejected",
    "please give me my money back, I want a refund for this order",
    "could you add a feature for exporting the report",
    "there is a bug in the report",
)
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1},
    "gpt2": {"n_embd": 32, "n_head": 2, "n_positions": 128},
    "qwen3": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2},
    "opt": {"hidden_size": 32, "ffn_dim": 64, "num_attention_heads": 2, "word_embed_proj_dim": 32},
    "mistral": {
        **{"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1},
        "sliding_window": 4,
    },
    "bloom": {"hidden_size": 32, "n_head": 2},
    "mamba": {"hidden_size": 16, "state_size": 4, "use_mambapy": False},
}


@cache
def tiny_chat(vocab_size: int = 400) -> Chat:
    """Return a chat over a tokenizer trained on TEXTS and LABELS."""
    return Chat(train_tokenizer(TEXTS * 4, LABELS, vocab_size))


def tiny_model(model_type: str = "llama", vocab_size: int = 400, seed: int = 0, scale: float = 12.0) -> Any:
    """Return a model of two layers in eval mode; `scale` makes its logits differ as a trained model's do."""
    layers = {"n_layer": 2} if model_type in ("gpt2", "bloom") else {"num_hidden_layers": 2}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        model_type, vocab_size=vocab_size, **ARCHITECTURES[model_type], **layers, tie_word_embeddings=True
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(scale)
    return model


def tiny_student(model_type: str = "llama", max_length: int | None = 128) -> Student:
    """Return a model together with the chat of its vocabulary."""
    chat = tiny_chat()
    return Student(tiny_model(model_type, len(chat.tokenizer)), chat, max_length)


def ask(text: str, system: str | None = None) -> list[dict[str, str]]:
    """Return a conversation of one user message."""
    messages = [{"role": "user", "content": text}]
    return messages if system is None else [{"role": "system", "content": system}, *messages]

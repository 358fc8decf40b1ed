"""A new causal language model from `base.architecture`: transformers' own configuration keys, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from distillery.errors import Problem, SpecError

PATH = "spec.student.base.architecture"
OURS = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
"""Keys that follow from the tokenizer."""

UNWANTED = frozenset(
    {
        *("architectures", "chunk_size_feed_forward", "dtype", "id2label", "is_encoder_decoder", "label2id"),
        *("output_hidden_states", "problem_type", "return_dict", "transformers_version", "use_cache"),
    }
)
"""Fields of every configuration that say nothing about the architecture of a causal language model."""

TRIAL_PARAMETERS = 20_000_000
"""Up to this size a configuration is tried out for real, since some mistakes show only in a forward pass."""

_MISTAKES = (
    StrictDataclassError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)
"""What transformers raises for values that do not fit together, depending on where it notices."""


def make_config(architecture: Mapping[str, Any], vocab_size: int, end: int, pad: int) -> Any:
    """Return the transformers configuration of an architecture.

    Raises: SpecError for an unknown model type or key (with the nearest known one), for values that the
        configuration refuses, and for combinations that no model can be built from.
    """
    keys = dict(architecture)
    model_type = keys.pop("model_type", None)
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        known = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if isinstance(name, str)]
        problem = "is missing" if model_type is None else f"{model_type!r} is not a causal language model"
        repair = _suggest(str(model_type), known, "write one that transformers knows, such as llama")
        raise SpecError(Problem(PATH + ".model_type", problem, repair))
    _check_keys(model_type, keys)
    tokens = {"vocab_size": vocab_size, "bos_token_id": None, "eos_token_id": end, "pad_token_id": pad}
    try:
        config = AutoConfig.for_model(model_type, **keys, **tokens)
        config.is_decoder = True
        _try_out(config)
    except _MISTAKES as error:
        repair = f"see the configuration of {model_type} in transformers"
        raise SpecError(Problem(PATH, f"does not make a model: {_reason(error)}", repair)) from None
    return config


def new_model(config: Any, seed: int) -> Any:
    """Return a model with new float32 weights that depend on configuration and seed only."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def _check_keys(model_type: str, keys: Mapping[str, Any]) -> None:
    reference = type(AutoConfig.for_model(model_type))
    known = {field.name for field in dataclasses.fields(reference)} | set(reference.attribute_map)
    known -= {name for name in known if name.startswith("_")} | UNWANTED
    problems = []
    for key in keys:
        if key in OURS:
            repair = "remove it; see student.base.tokenizer.train.vocabSize"
            problems.append(Problem(f"{PATH}.{key}", "follows from the tokenizer", repair))
        elif key not in known:
            repair = _suggest(key, known - set(OURS), f"use the keys of {reference.__name__}")
            problems.append(Problem(f"{PATH}.{key}", f"{model_type} has no such key", repair))
    if problems:
        raise SpecError(*problems)


def _try_out(config: Any) -> None:
    """Build the model without weights, and a small one for real with a forward pass; any mistake raises."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if sum(parameter.numel() for parameter in model.parameters()) > TRIAL_PARAMETERS:
        return
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.inference_mode():
        model(input_ids=torch.zeros((1, 2), dtype=torch.long), use_cache=False)


def _suggest(word: str, known: Iterable[str], otherwise: str) -> str:
    near = get_close_matches(word, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def _reason(error: Exception) -> str:
    """Return the last line that says something; transformers wraps its validation errors in a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else ""
    return (
        f"{type(error).__name__}: {text}"[:300]
        if isinstance(error, (KeyError, ArithmeticError))
        else text[:300]
    )

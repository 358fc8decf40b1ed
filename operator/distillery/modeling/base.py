"""What a student starts from: a new architecture, or a model folder in a store, on disk or on the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from distillery.api.v1alpha1.student import Base, Tokenizer
from distillery.artifacts.store import ObjectStore
from distillery.errors import DistilleryError, Problem, SpecError, TransientError
from distillery.modeling.architecture import make_config, new_model
from distillery.modeling.templates import Chat
from distillery.modeling.tokenizer import train_tokenizer

PATH = "spec.student.base"
WEIGHTS = ".safetensors"
WANTED = (WEIGHTS, ".json", ".jinja", ".txt", ".model")
"""Endings of the files that are fetched; pickled weights are neither needed nor safe."""

NO_LIMIT = 10**12
"""Tokenizers without a length limit state a larger number."""

OpenFolder = Callable[[str], ObjectStore]


@dataclass(frozen=True, slots=True)
class Student:
    """A model in training or use: float32 weights, its chat, the longest row in tokens (None: no limit)."""

    model: Any
    chat: Chat
    max_length: int | None


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What the preflight learns about a base. `chat` is None where the tokenizer is still to be trained."""

    model_type: str
    parameters: int
    max_length: int | None
    chat: Chat | None


def quiet() -> None:
    """Keep progress bars and advice of transformers out of our output."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def load_base(
    base: Base, texts: Iterable[str], labels: Sequence[str], seed: int, open_folder: OpenFolder, scratch: Path
) -> Student:
    """Create or load the model that is going to be trained.

    Args:
        base: exactly one of architecture, uri, hub is set.
        texts: training texts for the tokenizer of a new architecture; unused otherwise.
        labels: the task's labels, empty if it has none.
        seed: of new weights.
        open_folder: folder URI → store.
        scratch: local folder for a downloaded base.

    Raises: SpecError naming the field of the base that cannot be used; TransientError if the store is not
    reached.
    """
    quiet()
    if base.architecture is not None:
        vocab_size = (base.tokenizer or Tokenizer()).train.vocab_size
        tokenizer = train_tokenizer(texts, labels, vocab_size)
        chat = Chat(tokenizer)
        model = new_model(make_config(base.architecture, len(tokenizer), chat.end, chat.pad), seed)
        return Student(model, chat, max_length_of(model.config, tokenizer))
    where, revision, path = _location(base, open_folder, scratch, weights=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(where, revision=revision, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unusable(path, "its weights cannot be loaded", error) from None
    chat = Chat(_load_tokenizer(where, revision, path))
    return Student(model, chat, max_length_of(model.config, chat.tokenizer))


def check_base(base: Base, open_folder: OpenFolder, scratch: Path, labels: Sequence[str] = ()) -> BaseFacts:
    """Find out cheaply whether a base can be used: configuration, tokenizer and labels, not the weights.

    A new architecture is built for real if it is small, else on torch's meta device.
    Raises: SpecError, TransientError as `load_base`.
    """
    quiet()
    if base.architecture is not None:
        vocab_size = (base.tokenizer or Tokenizer()).train.vocab_size
        config = make_config(base.architecture, vocab_size, end=1, pad=0)
        return _facts(config, None, PATH + ".architecture")
    where, revision, path = _location(base, open_folder, scratch, weights=False)
    try:
        config = AutoConfig.from_pretrained(where, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(path, "its config.json cannot be read", error) from None
    chat = Chat(_load_tokenizer(where, revision, path))
    chat.labels(labels)
    return _facts(config, chat, path)


def max_length_of(config: Any, tokenizer: PreTrainedTokenizerBase | None) -> int | None:
    """Return the longest row in tokens that model and tokenizer allow, None without a limit."""
    limits = [getattr(config, "max_position_embeddings", None)]
    limits.append(None if tokenizer is None else tokenizer.model_max_length)
    known = [int(limit) for limit in limits if limit and limit < NO_LIMIT]
    return min(known, default=None)


def _facts(config: Any, chat: Chat | None, path: str) -> BaseFacts:
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise _unusable(path, f"a model_type {config.model_type} cannot be built from it", error) from None
    parameters = sum(parameter.numel() for parameter in model.parameters())
    limit = max_length_of(config, None if chat is None else chat.tokenizer)
    return BaseFacts(str(config.model_type), parameters, limit, chat)


def _location(
    base: Base, open_folder: OpenFolder, scratch: Path, *, weights: bool
) -> tuple[str, str | None, str]:
    """Return what transformers loads from (folder or hub id), the hub revision, and the field."""
    if base.uri is not None:
        path = PATH + ".uri"
        return str(_fetch_folder(base.uri, open_folder(base.uri), scratch, weights=weights)), None, path
    if base.hub is not None:
        return base.hub, base.revision, PATH + ".hub"
    repair = "set exactly one of hub, uri, architecture"
    raise SpecError(Problem(PATH, "names nothing to start from", repair))


def _fetch_folder(uri: str, store: ObjectStore, scratch: Path, *, weights: bool) -> Path:
    """Copy a model folder to local disk, weights only if asked for and not there at the same size."""
    objects = [found for found in store.list() if found.key.endswith(WANTED)]
    names = {found.key for found in objects}
    if "config.json" not in names:
        repair = "name the folder that holds config.json, the tokenizer and *.safetensors"
        raise SpecError(Problem(PATH + ".uri", f"{uri} has no config.json", repair))
    if not any(name.endswith(WEIGHTS) for name in names):
        repair = "save the model with save_pretrained, which writes safetensors"
        raise SpecError(Problem(PATH + ".uri", f"{uri} has no *{WEIGHTS} file", repair))
    for found in objects:
        path = scratch / found.key
        if found.key.endswith(WEIGHTS) and not weights:
            continue
        if not (path.exists() and path.stat().st_size == found.size and found.key.endswith(WEIGHTS)):
            path.parent.mkdir(parents=True, exist_ok=True)
            store.download(found.key, path)
    return scratch


def _load_tokenizer(where: str, revision: str | None, path: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(where, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(path, "its tokenizer cannot be loaded", error) from None
    return tokenizer


def _unusable(path: str, what: str, error: Exception) -> DistilleryError:
    """Say what is wrong with a base: the user edits, or the hub is asked again later."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    if path == PATH + ".hub" and "connect" in reason.lower():
        return TransientError(f"the hub could not be reached: {reason}")
    repair = "check it with transformers' AutoModelForCausalLM.from_pretrained"
    return SpecError(Problem(path, f"{what}: {reason}", repair))

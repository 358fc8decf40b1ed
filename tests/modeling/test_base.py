from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from distillery.api.v1alpha1.student import Base
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import SpecError, TransientError
from distillery.modeling import base as base_module
from distillery.modeling.base import check_base, load_base
from modeling.small import ARCHITECTURES, LABELS, TEXTS, tiny_chat, tiny_model

LLAMA: dict[str, Any] = {"model_type": "llama", "num_hidden_layers": 1, **ARCHITECTURES["llama"]}


def no_folder(uri: str) -> DirectoryStore:
    raise AssertionError(uri)


def folder(uri: str) -> DirectoryStore:
    return DirectoryStore(Path(uri.removeprefix("file://")))


def scratch_base(**changes: Any) -> Base:
    return Base.model_validate(
        {"architecture": {**LLAMA, **changes}, "tokenizer": {"train": {"vocabSize": 400}}}
    )


def saved_model(path: Path) -> Base:
    chat = tiny_chat()
    tiny_model(vocab_size=len(chat.tokenizer)).save_pretrained(path)
    chat.tokenizer.save_pretrained(path)
    return Base(uri=f"file://{path}")


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen3", "opt", "bloom"])
def test_a_new_architecture_becomes_a_model_of_its_tokenizer(model_type: str, tmp_path: Path) -> None:
    base = Base(architecture={"model_type": model_type, **ARCHITECTURES[model_type]})
    student = load_base(base, TEXTS, LABELS, 5, no_folder, tmp_path)
    assert student.model.config.vocab_size == len(student.chat.tokenizer)
    assert student.model.dtype == torch.float32
    assert student.model.config.eos_token_id == student.chat.end
    assert student.max_length == {"llama": 2048, "gpt2": 128, "qwen3": 32768, "opt": 2048}.get(model_type)


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    weights = [
        load_base(scratch_base(), TEXTS, LABELS, seed, no_folder, tmp_path).model.lm_head.weight
        for seed in (1, 1, 2)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("architecture", "path", "message"),
    [
        ({**LLAMA, "model_type": "lama"}, ".model_type", "did you mean llama?"),
        ({**LLAMA, "model_type": "bert_for_dogs"}, ".model_type", "is not a causal language model"),
        ({"hidden_size": 32}, ".model_type", "is missing"),
        ({**LLAMA, "hiden_size": 32}, ".hiden_size", "llama has no such key → did you mean hidden_size?"),
        ({**LLAMA, "zzz": 1}, ".zzz", "use the keys of LlamaConfig"),
        ({**LLAMA, "vocab_size": 400}, ".vocab_size", "follows from the tokenizer"),
        ({**LLAMA, "hidden_size": "32"}, "", "expected int, got str"),
        ({**LLAMA, "hidden_size": 33}, "", "not a multiple of the number of attention heads"),
        ({**LLAMA, "num_key_value_heads": 3}, "", "does not make a model"),
        ({**LLAMA, "hidden_act": "nope"}, "", "KeyError: 'nope'"),
        ({**LLAMA, "num_attention_heads": 0}, "", "ZeroDivisionError"),
    ],
)
def test_a_wrong_architecture_names_its_key(architecture: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_base(Base(architecture=architecture), no_folder, Path())
    assert caught.value.problems[0].path == "spec.student.base.architecture" + path
    assert message in str(caught.value)
    assert caught.value.problems[0].repair


def test_all_wrong_keys_are_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        check_base(scratch_base(hiden_size=1, bos_token_id=2), no_folder, Path())
    assert len(caught.value.problems) == 2


def test_the_preflight_counts_weights_without_having_them() -> None:
    facts = check_base(scratch_base(), no_folder, Path())
    student = load_base(scratch_base(), TEXTS, LABELS, 1, no_folder, Path())
    spare = 400 - len(student.chat.tokenizer)  # few texts fill no vocabulary
    counted = sum(parameter.numel() for parameter in student.model.parameters())
    assert (facts.model_type, facts.max_length, facts.chat) == ("llama", 2048, None)
    assert facts.parameters == counted + 2 * spare * 32
    huge = Base(
        architecture={**LLAMA, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
    )
    assert check_base(huge, no_folder, Path()).parameters > 5e10


def test_a_model_folder_is_loaded_from_a_store(tmp_path: Path) -> None:
    base = saved_model(tmp_path / "model")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"pickled")
    student = load_base(base, (), LABELS, 1, folder, tmp_path / "scratch")
    expected = tiny_model(vocab_size=len(tiny_chat().tokenizer))
    assert torch.equal(student.model.lm_head.weight, expected.lm_head.weight)
    assert not (tmp_path / "scratch" / "pytorch_model.bin").exists()
    facts = check_base(base, folder, tmp_path / "preflight", LABELS)
    assert facts.parameters == sum(parameter.numel() for parameter in expected.parameters())
    assert facts.chat is not None
    assert not (tmp_path / "preflight" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "has no *.safetensors file"),
        ("tokenizer.json", "its tokenizer cannot be loaded"),
    ],
)
def test_a_model_folder_that_lacks_a_file_is_refused(tmp_path: Path, broken: str, message: str) -> None:
    base = saved_model(tmp_path / "model")
    (tmp_path / "model" / broken).unlink()
    with pytest.raises(SpecError) as caught:
        check_base(base, folder, tmp_path / "scratch")
    assert caught.value.problems[0].path == "spec.student.base.uri"
    assert message in str(caught.value)


def test_a_base_that_names_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="exactly one of hub, uri, architecture"):
        check_base(Base(), no_folder, Path())


class Hub:
    """Stands for the hub below transformers' loaders: ids lead to local folders, or nowhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        for loader in (base_module.AutoConfig, base_module.AutoTokenizer, base_module.AutoModelForCausalLM):
            monkeypatch.setattr(loader, "from_pretrained", self._redirect(loader.from_pretrained, folder))

    def _redirect(self, load: Any, folder: Path | None) -> Any:
        def from_pretrained(name: str, revision: str | None = None, **fields: Any) -> Any:
            self.asked.append((str(name), revision))
            if folder is None:
                raise OSError(f"We couldn't connect to the hub to load {name}")
            return load(str(folder), **fields)

        return from_pretrained


def test_a_hub_model_is_asked_for_at_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_model(tmp_path / "model")
    hub = Hub(monkeypatch, tmp_path / "model")
    base = Base(hub="small/model", revision="abc123")
    facts = check_base(base, no_folder, tmp_path, LABELS)
    assert facts.model_type == "llama"
    load_base(base, (), LABELS, 1, no_folder, tmp_path)
    asked = [revision for name, revision in hub.asked if name == "small/model"]
    assert asked == ["abc123"] * 4  # configuration and tokenizer; weights and tokenizer


def test_a_hub_that_is_not_reached_is_asked_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub(monkeypatch, None)
    with pytest.raises(TransientError, match="the hub could not be reached"):
        check_base(Base(hub="small/model"), no_folder, tmp_path)

"""Contradictions in what the student starts from and how it learns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem

BASE = "spec.student.base"
ARCHITECTURE = f"{BASE}.architecture"
HARD_ONLY = "loss: {hard: 1, soft: 0}"


def base_is_not_one_of(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The student starts from nothing, or from several things."""
    base = spec.student.base
    given = [name for name in ("hub", "uri", "architecture") if getattr(base, name) is not None]
    if len(given) != 1:
        message = f"has {' and '.join(given) or 'none of hub, uri, architecture'}"
        yield Problem(BASE, message, "write exactly one of hub, uri, architecture")


def base_options_have_no_use(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A revision without a hub, or a tokenizer for a model that has one."""
    base = spec.student.base
    if base.revision is not None and base.hub is None:
        yield Problem(f"{BASE}.revision", "is for base.hub only", "remove it")
    if base.tokenizer is not None and base.architecture is None:
        message = "is for base.architecture only: other models bring their own"
        yield Problem(f"{BASE}.tokenizer", message, "remove it")


def architecture_has_no_type(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Nothing says which kind of model the other keys configure."""
    architecture = spec.student.base.architecture
    if architecture is None:
        return
    kind = architecture.get("model_type")
    if not isinstance(kind, str) or not kind:
        repair = "name it as transformers does: {model_type: llama, hidden_size: 128, …}"
        yield Problem(ARCHITECTURE, "has no model_type", repair)
    if "auto_map" in architecture:
        message = "auto_map would run code from elsewhere, which is not supported"
        yield Problem(ARCHITECTURE, message, "use a model type that transformers has")


def architecture_does_not_divide(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Hidden units cannot be shared equally by the attention heads."""
    architecture = spec.student.base.architecture or {}
    hidden, heads = _whole(architecture, "hidden_size"), _whole(architecture, "num_attention_heads")
    if hidden and heads and "head_dim" not in architecture and hidden % heads:
        message = f"hidden_size {hidden} is no multiple of num_attention_heads {heads}"
        yield Problem(ARCHITECTURE, message, f"write hidden_size: {(hidden // heads + 1) * heads}")


def architecture_sets_the_vocabulary(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Keys are set that follow from the tokenizer."""
    for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"):
        if key in (spec.student.base.architecture or {}):
            repair = "remove it; the size is tokenizer.train.vocabSize"
            yield Problem(f"{ARCHITECTURE}.{key}", "follows from the tokenizer", repair)


def length_exceeds_the_model(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Rows may be longer than the positions that the model has."""
    positions = _whole(spec.student.base.architecture or {}, "max_position_embeddings")
    wanted = spec.student.max_length
    if wanted and positions and wanted > positions:
        message = f"{wanted} is more than the architecture's max_position_embeddings ({positions})"
        yield Problem("spec.student.maxLength", message, f"write at most {positions}")


def loss_has_no_weight(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Nothing would be learnt."""
    loss = spec.student.loss
    if loss.hard + loss.soft <= 0:
        yield Problem("spec.student.loss", "hard and soft are both 0", f"write {HARD_ONLY}")


def soft_loss_has_no_labels(spec: DistillationJobSpec) -> Iterator[Problem]:
    """A distribution over labels is asked for where there are none."""
    soft = spec.student.loss.soft
    if soft > 0 and spec.task.output.format != "label":
        message = f"{soft:g} needs a distribution over labels, but the format is {spec.task.output.format}"
        yield Problem("spec.student.loss.soft", message, f"write {HARD_ONLY}")


def soft_loss_has_no_logprobs(spec: DistillationJobSpec) -> Iterator[Problem]:
    """The teacher is not asked for the probabilities that soft labels are made of."""
    soft = spec.student.loss.soft
    if soft > 0 and spec.teacher.parameters.top_logprobs == 0:
        message = f"{soft:g} needs the teacher's probabilities, but teacher.parameters.topLogprobs is 0"
        repair = f"write topLogprobs: 20, or {HARD_ONLY} if the teacher returns none"
        yield Problem("spec.student.loss.soft", message, repair)


def stopping_has_no_labels(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Agreement on labels decides when to stop, but there are none."""
    if spec.student.early_stopping.metric == "agreement" and spec.task.output.format != "label":
        message = f"agreement is counted on labels, but the format is {spec.task.output.format}"
        yield Problem("spec.student.earlyStopping.metric", message, "write loss")


def student_is_never_evaluated(spec: DistillationJobSpec) -> Iterator[Problem]:
    """Training ends before the first look at the validation split, so no checkpoint would be chosen."""
    student = spec.student
    if student.epochs * student.evaluations_per_epoch < 1:
        message = f"{student.evaluations_per_epoch} per epoch is none in {student.epochs:g} epochs"
        yield Problem("spec.student.evaluationsPerEpoch", message, "raise it, or epochs")


def _whole(architecture: dict[str, Any], key: str) -> int | None:
    value = architecture.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

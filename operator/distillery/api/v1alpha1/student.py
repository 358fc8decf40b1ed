"""The `student` section: the small model and how it learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import HUB_ID, FreeForm, Name, Seed, Uri, Workers


class TrainTokenizer(ApiModel):
    """A byte-level BPE trained on the training inputs and the labels."""

    vocab_size: Annotated[int, Field(ge=300, le=262144)] = 2048
    """Entries of the vocabulary."""


class Tokenizer(ApiModel):
    """Tokenizer of a student from scratch."""

    train: TrainTokenizer = TrainTokenizer()
    """Train one on the training inputs."""


class Base(ApiModel):
    """What the student starts from: exactly one of hub, uri, architecture."""

    hub: Annotated[str, StringConstraints(pattern=HUB_ID, max_length=256)] | None = None
    """Model id on the Hugging Face hub."""
    revision: Name | None = None
    """Commit or tag on the hub."""
    uri: Uri | None = None
    """Folder with a transformers model, `s3://` or `file://`."""
    architecture: FreeForm | None = None
    """A new causal language model: `model_type` and that configuration's keys, as transformers names them."""
    tokenizer: Tokenizer | None = None
    """For `architecture` only; omitted: trained with the default vocabulary."""


class FullMethod(ApiModel):
    """All weights are trained."""


class Method(ApiModel):
    """How weights are updated."""

    full: FullMethod = FullMethod()
    """Full fine-tuning."""


class Loss(ApiModel):
    """Weights of the teacher's answer and of the teacher's distribution over the labels; not both 0."""

    hard: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Cross-entropy on the answer."""
    soft: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Forward KL to the teacher's label distribution; label tasks with topLogprobs only."""


class Optimizer(ApiModel):
    """AdamW."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2.0e-4
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Course of the learning rate after warm-up."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of the steps in which the rate rises."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Decoupled weight decay."""
    betas: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=2, max_length=2)] = [
        0.9,
        0.999,
    ]
    """Decay rates of the two moments."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""


class EarlyStopping(ApiModel):
    """Stop when the validation split stops improving; the best checkpoint is the one that is kept."""

    metric: Literal["loss", "agreement"] = "loss"
    """Measured on the unweighted validation split."""
    patience: Annotated[int, Field(ge=1, le=100)] = 3
    """Evaluations without improvement."""


class Student(ApiModel):
    """The small model that learns the teacher's answers."""

    base: Base
    """What it starts from."""
    method: Method = Method()
    """How weights are updated."""
    loss: Loss = Loss()
    """Targets and their weights."""
    epochs: Annotated[float, Field(gt=0, le=1000)] = 3
    """Passes over the training rows."""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    """Rows per optimizer step, over all workers."""
    max_length: Annotated[int, Field(ge=8, le=1048576)] | None = None
    """Longest row in tokens, prompt and answer; omitted: what the model allows."""
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=100)] = 4
    """Looks at the validation split per epoch."""
    optimizer: Optimizer = Optimizer()
    """Optimizer and schedule."""
    early_stopping: EarlyStopping = EarlyStopping()
    """When to stop."""
    seed: Seed = 17
    """Seed of initial weights and row order."""
    workers: Workers | None = None
    """Pods that train together, each on its share of every batch; omitted: the head pod trains."""

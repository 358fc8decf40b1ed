"""The `dataset` section: where inputs come from, how they are named, sliced, de-duplicated and split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from distillery.api.base import ApiModel
from distillery.api.v1alpha1.common import DnsName, FreeForm, Name, Seed, Text, Uri, Url

SourceFormat = Literal["plain", "chat", "prompt-completion"]


class Source(ApiModel):
    """One or several JSONL files of inputs."""

    uri: Uri
    """File or glob (`*`, `?`, `**`): `s3://bucket/path` or `file:///path`; the CLI reads
    `file://path` from the manifest's folder."""
    format: SourceFormat = "plain"
    """`plain` rows are rendered by `input`; `chat` rows have `messages`; `prompt-completion` `prompt`."""
    endpoint: Url | None = None
    """URL of the S3 server of this source; omitted: the storage's."""
    credentials_secret: DnsName | None = None
    """Secret for this source; omitted: the storage's."""


class Slice(ApiModel):
    """A named part of the inputs, counted, reported and gated on its own: exactly one of where, byColumn."""

    name: Name
    """Name of the slice; with byColumn the slices are called `name=value`."""
    where: FreeForm | None = None
    """Columns and the value (or list of values) each must have."""
    by_column: Name | None = None
    """One slice per value of this column."""


class Deduplicate(ApiModel):
    """Exact duplicates always go; this adds near ones."""

    near: Annotated[float, Field(gt=0, le=1)] | None = None
    """Word-trigram Jaccard similarity from which two inputs count as the same."""


class Oversample(ApiModel):
    """Lift rare slices of the training split; never validation or test."""

    slices: Annotated[list[Name], Field(min_length=1, max_length=16)]
    """Names of byColumn slices whose values below the median count are lifted towards it."""
    max_factor: Annotated[float, Field(gt=1, le=10)] = 5.0
    """No row is copied more often than this."""


class Split(ApiModel):
    """Shares of the inputs kept from training; by hash, so that rows never move when others are added."""

    validation: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share for early stopping and model choice."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.10
    """Share for the evaluation; the teacher first meets it there."""
    seed: Seed = 17
    """Seed of the hash."""


class Dataset(ApiModel):
    """The inputs of the task, as production sees them."""

    sources: Annotated[list[Source], Field(min_length=1, max_length=64)]
    """JSONL files of rows to be answered."""
    input: Text | None = None
    """Template of the user message for plain rows, as in `{subject}\\n{body}`; doubled braces are literal."""
    id: Name | None = None
    """Column that names a row; omitted: the content names it."""
    reference: Name | None = None
    """Column with a known answer."""
    group_by: Name | None = None
    """Column whose equal values never straddle two splits, for example a conversation."""
    slices: Annotated[list[Slice], Field(max_length=32)] = []
    """Parts of the inputs to count, report and gate."""
    deduplicate: Deduplicate = Deduplicate()
    """Removal of repeated inputs."""
    oversample: Oversample | None = None
    """Copies of rare training rows."""
    split: Split = Split()
    """Shares of validation and test."""
    limit: Annotated[int, Field(ge=10, le=10**9)] | None = None
    """At most this many inputs, chosen by hash."""

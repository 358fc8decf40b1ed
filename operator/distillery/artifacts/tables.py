"""The tables that stages exchange: their columns, one way to write and read them, and their logical digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distillery.artifacts.manifest import canonical_json

TABLES_VERSION = 1

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
LOGPROBS = pa.list_(
    pa.struct(
        [
            ("token", pa.string()),
            ("logprob", pa.float32()),
            ("top", pa.list_(pa.struct([("token", pa.string()), ("logprob", pa.float32())]))),
        ]
    )
)

INPUTS = pa.schema(
    [
        ("row_id", pa.string()),
        ("split", pa.string()),  # train | validation | test
        ("group", pa.string()),  # the groupBy value, null without groupBy
        ("messages", MESSAGES),  # the row's own messages, without task.systemPrompt
        ("reference", pa.string()),  # the known answer, null if none
        ("slices", pa.list_(pa.string())),
        ("copies", pa.int32()),  # 1, more where oversampled (train only)
    ]
)
COMPLETIONS = pa.schema(
    [
        ("row_id", pa.string()),
        ("split", pa.string()),
        ("sample_index", pa.int32()),  # 0 is production's answer, 1… the extra samples
        ("status", pa.string()),  # answered | failed
        ("reason", pa.string()),  # why it failed
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("refusal", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("cached_prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("model", pa.string()),  # as returned by the teacher
        ("fingerprint", pa.string()),
        ("answer_key", pa.string()),
        ("logprobs", LOGPROBS),
    ]
)
KEPT = pa.schema(
    [
        ("row_id", pa.string()),
        ("split", pa.string()),  # train | validation
        ("messages", MESSAGES),
        ("answer", pa.string()),  # the normalised training target
        ("soft", pa.list_(pa.float32())),  # probability per label in the task's order; null: hard label only
        ("reference", pa.string()),
        ("slices", pa.list_(pa.string())),
        ("copies", pa.int32()),
    ]
)
REJECTED = pa.schema(
    [
        ("row_id", pa.string()),
        ("split", pa.string()),
        ("rule", pa.string()),  # format | length | refusal | consistency | teacher (the call failed)
        ("reason", pa.string()),
        ("text", pa.string()),
        ("slices", pa.list_(pa.string())),
    ]
)
TRAINING_LOG = pa.schema(
    [
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("learning_rate", pa.float64()),
        ("train_loss", pa.float64()),
        ("validation_loss", pa.float64()),  # null on steps without evaluation
        ("validation_agreement", pa.float64()),
    ]
)
PREDICTIONS = pa.schema(
    [
        ("row_id", pa.string()),
        ("group", pa.string()),
        ("slices", pa.list_(pa.string())),
        ("messages", MESSAGES),
        ("reference", pa.string()),
        ("teacher_status", pa.string()),
        ("teacher_answer", pa.string()),
        ("student_answer", pa.string()),
        ("student_confidence", pa.float64()),
        ("student_valid", pa.bool_()),  # whether free generation gave a valid answer
        ("teacher_score", pa.float64()),  # against the reference, null without one
        ("student_score", pa.float64()),
        ("agreement", pa.float64()),  # student against teacher
    ]
)

Row = Mapping[str, Any]


def write_table(path: Path, schema: pa.Schema, rows: Sequence[Row]) -> None:
    """Write rows as Parquet (zstd). Raises: pyarrow.ArrowInvalid if a row does not fit the schema."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, path, compression="zstd")


def read_table(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Read rows of a Parquet file; columns that `schema` lacks are dropped.

    Raises: pyarrow.ArrowInvalid if a column is missing or has another type.
    """
    rows: list[dict[str, Any]] = pq.read_table(path).select(schema.names).cast(schema).to_pylist()
    return rows


def rows_digest(rows: Iterable[Row]) -> str:
    """Return the sha256 of the rows' canonical JSON, one per line, in the given order."""
    hasher = hashlib.sha256()
    for row in rows:
        hasher.update(canonical_json(dict(row)))
        hasher.update(b"\n")
    return hasher.hexdigest()

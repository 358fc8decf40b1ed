"""The tables that stages exchange: their columns, one way to write and read them, their logical digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distillery.artifacts.manifest import canonical_json
from distillery.errors import StageFailed

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

BATCH_ROWS = 4096
"""Rows that are held as Arrow and as Python objects at the same time."""

_VERSION_KEY = b"distillery.version"


def write_table(path: Path, schema: pa.Schema, rows: Iterable[Row]) -> None:
    """Write rows as Parquet (zstd), batch by batch; columns that a row lacks become null.

    Raises:
        ValueError: a row has a column that the schema lacks.
        pyarrow.ArrowException: a value does not fit its column.
    """
    versioned = schema.with_metadata({_VERSION_KEY: str(TABLES_VERSION)})
    with pq.ParquetWriter(path, versioned, compression="zstd") as writer:
        for table in _tables(versioned, rows):
            writer.write_table(table)


def read_table(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Read rows of a Parquet file; columns that `schema` lacks are not read.

    Raises:
        StageFailed: ArtifactTooNew, a later release of distillery wrote it.
        pyarrow.ArrowException: a column is missing or has another type, or the file is no Parquet.
    """
    return list(iterate_table(path, schema))


def iterate_table(path: Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """Yield what `read_table` returns, holding one batch at a time."""
    with pq.ParquetFile(path) as file:
        version = int((file.schema_arrow.metadata or {}).get(_VERSION_KEY, b"1"))
        if version > TABLES_VERSION:
            message = f"{path.name} has version {version}, written by a newer distillery: upgrade"
            raise StageFailed("ArtifactTooNew", message)
        missing = [name for name in schema.names if name not in file.schema_arrow.names]
        if missing:
            raise pa.ArrowInvalid(f"{path.name} lacks the columns {', '.join(missing)}")
        plain = schema.remove_metadata()
        for batch in file.iter_batches(BATCH_ROWS, columns=schema.names):
            yield from pa.Table.from_batches([batch]).select(schema.names).cast(plain).to_pylist()


def rows_digest(rows: Iterable[Row], schema: pa.Schema | None = None) -> str:
    """Return the sha256 of the rows' canonical JSON, one per line, in the given order.

    With `schema` the digest is that of the table as stored: absent columns are null, `1` in a float column is
    `1.0`, and float32 columns are rounded to what they can hold. Only then do rows in memory and the same
    rows read back have equal digests.

    Raises:
        ValueError: NaN or infinity, which have no JSON; with `schema` also a column that it lacks.
        pyarrow.ArrowException: a value does not fit its column.
    """
    hasher = hashlib.sha256()
    stored = rows if schema is None else (row for table in _tables(schema, rows) for row in table.to_pylist())
    for row in stored:
        hasher.update(canonical_json(dict(row)))
        hasher.update(b"\n")
    return hasher.hexdigest()


def _tables(schema: pa.Schema, rows: Iterable[Row]) -> Iterator[pa.Table]:
    names = set(schema.names)
    source = iter(rows)
    while batch := list(islice(source, BATCH_ROWS)):
        for row in batch:
            if not row.keys() <= names:
                raise ValueError(f"no such columns in this table: {sorted(row.keys() - names)}")
        yield pa.Table.from_pylist(batch, schema=schema)

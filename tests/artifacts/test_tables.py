"""Tables: what is written is read, what does not fit is refused, and digests follow the content only."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.artifacts import tables
from distillery.artifacts.tables import (
    BATCH_ROWS,
    COMPLETIONS,
    INPUTS,
    KEPT,
    PREDICTIONS,
    REJECTED,
    TRAINING_LOG,
    iterate_table,
    read_table,
    rows_digest,
    write_table,
)
from distillery.errors import StageFailed

SCHEMAS = (INPUTS, COMPLETIONS, KEPT, REJECTED, TRAINING_LOG, PREDICTIONS)


def completion(number: int, tokens: int = 2) -> dict[str, Any]:
    top = [{"token": f"t{rank}", "logprob": -0.1 * (rank + 1)} for rank in range(20)]
    return {
        "row_id": f"{number:08x}",
        "split": "train",
        "sample_index": 0,
        "status": "answered",
        "text": "billing",
        "finish_reason": "stop",
        "prompt_tokens": 51,
        "completion_tokens": tokens,
        "model": "m",
        "answer_key": "a" * 64,
        "logprobs": [{"token": "bill", "logprob": -0.1, "top": top} for _ in range(tokens)],
    }


@pytest.mark.parametrize("schema", SCHEMAS, ids=["inputs", "completions", "kept", "rejected", "log", "pred"])
def test_an_empty_table_keeps_its_columns(tmp_path: Path, schema: pa.Schema) -> None:
    write_table(tmp_path / "t.parquet", schema, [])
    assert read_table(tmp_path / "t.parquet", schema) == []
    assert pq.read_schema(tmp_path / "t.parquet").names == schema.names


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        {
            "row_id": "1",
            "split": "train",
            "group": None,
            "messages": [{"role": "user", "content": "Grüße\n\0 😀"}],
            "reference": "billing",
            "slices": ["lang=de", ""],
            "copies": 2,
        },
        {
            "row_id": "2",
            "split": "test",
            "group": "g",
            "messages": [],
            "reference": None,
            "slices": [],
            "copies": 1,
        },
    ]
    write_table(tmp_path / "t.parquet", INPUTS, rows)
    assert read_table(tmp_path / "t.parquet", INPUTS) == rows


def test_absent_columns_are_null_and_unknown_ones_a_mistake(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", REJECTED, [{"row_id": "1"}])
    assert read_table(tmp_path / "t.parquet", REJECTED) == [
        {"row_id": "1", "split": None, "rule": None, "reason": None, "text": None, "slices": None}
    ]
    with pytest.raises(ValueError, match=r"no such columns in this table: \['raeson'\]"):
        write_table(tmp_path / "u.parquet", REJECTED, [{"row_id": "1", "raeson": "x"}])


@pytest.mark.parametrize("row", [{"row_id": 1}, {"copies": "two"}, {"copies": 1 << 40}, {"slices": 3}])
def test_values_of_another_type_are_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(pa.ArrowException):
        write_table(tmp_path / "t.parquet", INPUTS, [row])


def test_many_batches_keep_the_order(tmp_path: Path) -> None:
    count = 2 * BATCH_ROWS + 17
    rows = ({"row_id": f"{number:08d}", "split": "train"} for number in range(count))
    write_table(tmp_path / "t.parquet", REJECTED, rows)
    found = [row["row_id"] for row in iterate_table(tmp_path / "t.parquet", REJECTED)]
    assert found == [f"{number:08d}" for number in range(count)]


def test_equal_rows_give_equal_files(tmp_path: Path) -> None:
    rows = [completion(number) for number in range(100)]
    write_table(tmp_path / "a.parquet", COMPLETIONS, rows)
    write_table(tmp_path / "b.parquet", COMPLETIONS, iter(rows))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_columns_can_be_chosen_and_missing_ones_are_told(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", REJECTED, [{"row_id": "1", "rule": "format"}])
    some = pa.schema([("rule", pa.string()), ("row_id", pa.string())])
    assert read_table(tmp_path / "t.parquet", some) == [{"rule": "format", "row_id": "1"}]
    with pytest.raises(pa.ArrowInvalid, match=r"t\.parquet lacks the columns answer"):
        read_table(tmp_path / "t.parquet", pa.schema([("row_id", pa.string()), ("answer", pa.string())]))


def test_a_table_of_a_later_release_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "TABLES_VERSION", 2)
    write_table(tmp_path / "t.parquet", REJECTED, [{"row_id": "1"}])
    monkeypatch.undo()
    with pytest.raises(
        StageFailed, match=r"t\.parquet has version 2, written by a newer distillery: upgrade"
    ):
        read_table(tmp_path / "t.parquet", REJECTED)


def test_digests_of_rows_in_memory_and_of_rows_read_back_are_equal(tmp_path: Path) -> None:
    rows = [completion(number) for number in range(10)]
    write_table(tmp_path / "t.parquet", COMPLETIONS, rows)
    read = read_table(tmp_path / "t.parquet", COMPLETIONS)
    assert rows_digest(rows, COMPLETIONS) == rows_digest(read, COMPLETIONS) == rows_digest(read)
    assert rows_digest(rows) != rows_digest(read)  # why the schema is asked for: float32 columns round


def test_the_digest_is_pinned() -> None:
    """It enters identities: a change here makes every artifact of before a stranger."""
    assert rows_digest([completion(1, tokens=1)], COMPLETIONS) == (
        "588b44d65240fb2a04f7482c7858375eea58ba9f79c38aeaf2cd5501a82ebff4"
    )
    assert rows_digest([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_digest_sees_order_and_content() -> None:
    one, two = completion(1), completion(2)
    changed = {**two, "text": "login"}
    assert (
        len({rows_digest(rows, COMPLETIONS) for rows in ([one, two], [two, one], [one, changed], [one])}) == 4
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_hold_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        rows_digest([{"train_loss": value}], TRAINING_LOG)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "row_id": st.text(st.characters(codec="utf-8"), max_size=8),
            "soft": st.one_of(st.none(), st.lists(st.floats(0, 1, width=64), max_size=4)),
            "copies": st.integers(1, 5),
        }
    ),
    max_size=8,
)


@given(rows=ROWS)
@settings(max_examples=50, deadline=None)
def test_storing_never_changes_a_digest(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("t") / "kept.parquet"
    write_table(path, KEPT, rows)
    assert rows_digest(rows, KEPT) == rows_digest(read_table(path, KEPT), KEPT)


def test_ten_thousand_rows_are_digested_in_seconds() -> None:
    rows = [completion(number, tokens=0) for number in range(10_000)]
    started = time.process_time()
    rows_digest(rows, COMPLETIONS)
    assert time.process_time() - started < 5

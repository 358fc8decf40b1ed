from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.api.fields import nearest
from distillery.api.paths import Path, format_path, is_there, overlap, parse_path, place, remove
from distillery.api.showing import HIDDEN, masked, shown

KEYS = st.text(min_size=1, max_size=8).filter(lambda key: not any("\ud800" <= c <= "\udfff" for c in key))


@given(first=KEYS, rest=st.lists(KEYS | st.integers(0, 999), max_size=5))
def test_a_path_is_read_as_it_was_written(first: str, rest: list[str | int]) -> None:
    path: Path = (first, *rest)
    assert parse_path(format_path(path)) == path


def test_paths_look_as_people_write_them() -> None:
    assert format_path(("spec", "dataset", "sources", 0, "uri")) == "spec.dataset.sources[0].uri"
    assert format_path(("metadata", "a.b/c")) == 'metadata."a.b/c"'


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "[0]", "a[", "a[x]", "a[0", "a[0]b", "a]", 'a"b"']
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no field path"):
        parse_path(text)


def test_values_are_placed_and_removed() -> None:
    data: dict[str, Any] = {"a": {"b": 1}}
    place(data, ("a", "c", 0, "d"), 2)
    place(data, ("a", "c", 1), 3)
    place(data, ("a", "b"), 4)
    assert data == {"a": {"b": 4, "c": [{"d": 2}, 3]}}
    remove(data, ("a", "c", 0))
    remove(data, ("x", "y"))
    remove(data, ("a", "c", 9))
    assert data == {"a": {"b": 4, "c": [3]}}
    assert is_there(data, ("a", "c", 0))
    assert not is_there(data, ("a", "b", "c"))


def test_paths_overlap_when_one_lies_within_the_other() -> None:
    assert overlap(("a", "b"), ("a",))
    assert overlap(("a",), ("a", "b"))
    assert not overlap(("a", "b"), ("a", "c"))


@pytest.mark.parametrize(
    ("word", "want"),
    [("epoch", "epochs"), ("toplogprobs", "topLogprobs"), ("top_logprobs", "topLogprobs"), ("colour", None)],
)
def test_the_nearest_word_is_found_whatever_the_case(word: str, want: str | None) -> None:
    assert nearest(word, ["epochs", "topLogprobs", "seed"]) == want


@pytest.mark.parametrize(
    ("value", "path", "want"),
    [
        ("x" * 99, (), "'" + "x" * 59 + "…'"),
        (1.5, (), "1.5"),
        (True, (), "true"),
        ([1], (), "a list"),
        ("plain", ("apiKeySecret", "name"), HIDDEN),
        ("sk-abcdefghijklmnop", ("model",), HIDDEN),
        ("https://me:pw@host", ("url",), HIDDEN),
    ],
)
def test_values_are_shown_short_and_without_secrets(value: object, path: Path, want: str) -> None:
    assert shown(value, path) == want


def test_secrets_are_taken_out_of_any_text() -> None:
    assert masked("sent sk-abcdefghijklmnop to https://me:pw@host/v1") == "sent … to https://…@host/v1"

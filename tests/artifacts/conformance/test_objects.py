"""What every store does with single objects."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest

from distillery.artifacts.checking import check_store
from distillery.artifacts.store import MissingObject, ObjectStat, ObjectStore
from distillery.errors import Conflict

CONTENTS = {
    "an empty object": b"",
    "text": "Grüße, 世界".encode(),
    "all bytes": bytes(range(256)) * 500,
    "line ends of all kinds": b"a\nb\r\nc\r\n\0",
}
KEYS = (
    "plain",
    "a/b/c/d/e/f.txt",
    "with blank",
    "grüße/日本語/😀.json",
    "percent%20plus+and&equals=",
    "question?hash#semicolon;",
    "quote'double\"comma,",
    "dots.in..name/...",
    "~tilde!$()[]{}@:",
    "back\\slash",
)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_an_object_is_read_as_it_was_written(store: ObjectStore, content: bytes, tmp_path: Path) -> None:
    store.put("folder/object", content)
    store.download("folder/object", tmp_path / "copy")
    assert store.get("folder/object") == (tmp_path / "copy").read_bytes() == content


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
def test_a_file_is_read_as_it_was_uploaded(store: ObjectStore, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    store.upload("folder/object", tmp_path / "file")
    assert store.get("folder/object") == content


@pytest.mark.parametrize("key", KEYS)
def test_keys_may_hold_any_character(store: ObjectStore, key: str) -> None:
    store.put(key, key.encode())
    assert store.get(key) == key.encode()
    assert [found.key for found in store.list()] == [key]
    assert [found.key for found in store.list(key)] == [key]
    store.delete(key)
    assert list(store.list()) == []


@pytest.mark.parametrize("key", ["", "/", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\0b", "a" * 1025])
def test_bad_keys_are_refused_by_every_call(store: ObjectStore, key: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for call in (
        lambda: store.get(key),
        lambda: store.stat(key),
        lambda: store.put(key, b"x"),
        lambda: store.upload(key, tmp_path / "file"),
        lambda: store.download(key, tmp_path / "copy"),
        lambda: store.delete(key),
    ):
        with pytest.raises(ValueError, match="is no key"):
            call()


def test_a_missing_object_is_told_and_leaves_no_file(store: ObjectStore, tmp_path: Path) -> None:
    store.put("folder/other", b"x")
    for key in ("folder/missing", "nowhere/missing", "folder"):
        with pytest.raises(MissingObject, match=key):
            store.get(key)
        with pytest.raises(MissingObject, match=key):
            store.download(key, tmp_path / "copy")
        assert store.stat(key) is None
    assert list(tmp_path.glob("*cop*")) == []
    assert list(tmp_path.glob(".*")) == []


def test_an_empty_store_lists_nothing_and_lacks_everything(store: ObjectStore) -> None:
    assert list(store.list()) == []
    assert store.stat("a") is None
    store.delete("a/b")
    assert store.sweep(time.time()) == ()


def test_overwriting_replaces_content_size_and_etag(store: ObjectStore) -> None:
    first = store.put("a/b", b"first")
    second = store.put("a/b", b"other")
    third = store.put("a/b", b"longer than before")
    assert len({first, second, third}) == 3
    assert store.get("a/b") == b"longer than before"
    facts = store.stat("a/b")
    assert facts is not None
    assert facts == ObjectStat("a/b", 18, third, facts.modified)
    assert abs(facts.modified - time.time()) < 60


def test_stat_and_list_agree(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    store.put("a", b"1")
    store.upload("b/c", tmp_path / "file")
    found = list(store.list())
    assert found == [store.stat("a"), store.stat("b/c")]
    assert [(facts.key, facts.size) for facts in found] == [("a", 1), ("b/c", 5)]


def test_a_download_replaces_the_file(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"a longer content of before")
    store.put("a", b"new")
    store.download("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"


def test_deleting_removes_one_object_and_may_be_repeated(store: ObjectStore) -> None:
    store.put("a/b/c", b"1")
    store.put("a/b/d", b"2")
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("a/b")
    assert [found.key for found in store.list()] == ["a/b/d"]
    store.delete("a/b/d")
    store.put("a", b"a folder of before may become an object")
    assert [found.key for found in store.list()] == ["a"]


def test_if_absent_writes_only_the_first_time(store: ObjectStore) -> None:
    etag = store.put("a/manifest.json", b"winner", if_absent=True)
    with pytest.raises(Conflict, match=r"a/manifest\.json"):
        store.put("a/manifest.json", b"loser", if_absent=True)
    assert store.get("a/manifest.json") == b"winner"
    facts = store.stat("a/manifest.json")
    assert facts is not None
    assert facts.etag == etag
    store.delete("a/manifest.json")
    store.put("a/manifest.json", b"again", if_absent=True)


def test_if_match_writes_only_over_the_expected_object(store: ObjectStore) -> None:
    first = store.put("latest.json", b"1")
    second = store.put("latest.json", b"2", if_match=first)
    with pytest.raises(Conflict):
        store.put("latest.json", b"3", if_match=first)
    assert store.get("latest.json") == b"2"
    third = store.put("latest.json", b"4", if_match=second)
    store.delete("latest.json")
    with pytest.raises(Conflict):
        store.put("latest.json", b"5", if_match=third)
    assert store.stat("latest.json") is None


def test_both_conditions_at_once_are_a_mistake(store: ObjectStore) -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        store.put("a", b"x", if_absent=True, if_match="y")


def test_a_usable_store_passes_the_check_and_keeps_nothing_of_it(store: ObjectStore) -> None:
    check_store(store)
    assert list(store.list()) == []


def test_a_store_travels_to_other_processes(store: ObjectStore, tmp_path: Path) -> None:
    store.put("a", b"x")
    copy: ObjectStore = pickle.loads(pickle.dumps(store))
    assert copy.get("a") == b"x"
    copy.download("a", tmp_path / "a")
    copy.upload("b", tmp_path / "a")
    assert copy.get("b") == b"x"
    if hasattr(copy, "close"):
        copy.close()


def test_a_large_object_travels_in_parts(store: ObjectStore, tmp_path: Path) -> None:
    content = b"".join(number.to_bytes(8, "big") for number in range(20 * 1024 * 1024 // 8))
    (tmp_path / "file").write_bytes(content)
    store.upload("model/model.safetensors", tmp_path / "file")
    store.download("model/model.safetensors", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    facts = store.stat("model/model.safetensors")
    assert facts is not None
    assert facts.size == len(content)
    assert [found.key for found in store.list()] == ["model/model.safetensors"]
    assert store.sweep(time.time() + 3600) == ()

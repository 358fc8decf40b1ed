"""What is particular to the directory store: hidden files, what the operating system says, links."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from distillery.artifacts import directory
from distillery.artifacts.directory import HIDDEN, DirectoryStore
from distillery.artifacts.store import MissingObject
from distillery.errors import Conflict, StageFailed, TransientError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_reading_creates_nothing(root: Path) -> None:
    store = DirectoryStore(root)
    assert list(store.list()) == []
    assert store.stat("a") is None
    store.delete("a")
    with pytest.raises(MissingObject):
        store.get("a")
    assert not root.exists()


def test_the_first_write_creates_the_folder_and_files_are_plain(root: Path) -> None:
    store = DirectoryStore(root / "deep" / "down")
    store.put("a/b.json", b"{}")
    assert (root / "deep" / "down" / "a" / "b.json").read_bytes() == b"{}"
    assert store.uri == f"file://{root}/deep/down"


def test_unfinished_files_and_the_lock_are_not_objects(root: Path) -> None:
    store = DirectoryStore(root)
    store.put("a", b"x")
    (root / HIDDEN / "0123.part").write_bytes(b"half")
    assert [found.key for found in store.list()] == ["a"]
    for call in (store.get, store.stat, store.delete):
        with pytest.raises(ValueError, match="holds unfinished files"):
            call(f"{HIDDEN}/0123.part")


def test_leftovers_of_killed_writers_are_swept_by_age(root: Path) -> None:
    store = DirectoryStore(root)
    store.put("a", b"x")
    old, young = root / HIDDEN / "old.part", root / HIDDEN / "young.part"
    for path, age in ((old, 1000), (young, 10)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    assert store.sweep(time.time() - 100, dry_run=True) == (f"{HIDDEN}/old.part",)
    assert old.exists()
    assert store.sweep(time.time() - 100) == (f"{HIDDEN}/old.part",)
    assert sorted(path.name for path in (root / HIDDEN).iterdir()) == ["lock", "young.part"]


def test_nothing_unfinished_stays_behind_a_refused_write(root: Path) -> None:
    store = DirectoryStore(root)
    store.put("a", b"x")
    with pytest.raises(Conflict):
        store.put("a", b"y", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"y", if_match="other")
    assert [path.name for path in (root / HIDDEN).iterdir()] == ["lock"]


def test_etags_differ_even_for_fast_writes_of_one_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory.os, "fsync", lambda descriptor: None)
    store = DirectoryStore(root)
    etags = [store.put("a", str(number % 10).encode()) for number in range(200)]
    assert len(set(etags)) == 200


def test_file_systems_without_hard_links_keep_the_promise(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(directory.os, "link", refuse)
    store = DirectoryStore(root)
    store.put("a", b"first", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"second", if_absent=True)
    assert store.get("a") == b"first"


REFUSALS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EACCES: "permission denied: give yourself read and write rights to the folder, or use another one",
    errno.EROFS: "the file system is read-only: mount it writable, or use another folder",
    errno.ENAMETOOLONG: "File name too long: check the folder, or use another one",
}


@pytest.mark.parametrize(("number", "want"), REFUSALS.items())
def test_what_the_user_must_repair_is_told(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, want: str
) -> None:
    store = DirectoryStore(root)
    store.put("a", b"before")
    (tmp_path / "file").write_bytes(b"new")

    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(directory.os, "fsync", refuse)
    for call in (lambda: store.put("a", b"new"), lambda: store.upload("a", tmp_path / "file")):
        with pytest.raises(StageFailed) as caught:
            call()
        assert (caught.value.reason, caught.value.failure_class) == ("StoreUnusable", "user")
        assert caught.value.message == f"cannot write a in file://{root}: {want}"
    monkeypatch.undo()
    assert store.get("a") == b"before"
    assert [path.name for path in (root / HIDDEN).iterdir()] == ["lock"]


def test_what_may_pass_is_transient(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(directory.os, "fsync", refuse)
    with pytest.raises(TransientError, match=r"cannot write a in file://.*: Input/output error"):
        DirectoryStore(root).put("a", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(root: Path) -> None:
    root.mkdir(mode=0o555)
    with pytest.raises(StageFailed, match="permission denied"):
        DirectoryStore(root).put("a", b"x")


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_place_of_the_folder_is_told(root: Path, below: str) -> None:
    root.write_bytes(b"I am a file")
    store = DirectoryStore(root / below)
    with pytest.raises(StageFailed, match="a file stands where a folder is needed"):
        store.put("a", b"x")
    assert store.stat("a") is None
    assert list(store.list()) == []


def test_an_object_cannot_become_a_folder_nor_a_folder_an_object(root: Path) -> None:
    store = DirectoryStore(root)
    store.put("a", b"x")
    with pytest.raises(StageFailed, match="a file stands where a folder is needed"):
        store.put("a/b", b"x")
    store.put("b/c", b"x")
    with pytest.raises(StageFailed, match="a folder stands where a file is needed"):
        store.put("b", b"x")
    assert [found.key for found in store.list()] == ["a", "b/c"]


def test_links_are_followed_but_not_in_circles(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "tickets.jsonl").write_bytes(b"{}")
    root.mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "file").symlink_to(tmp_path / "elsewhere" / "tickets.jsonl")
    (root / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "elsewhere" / "back").symlink_to(root)
    store = DirectoryStore(root)
    assert [found.key for found in store.list()] == ["file", "linked/tickets.jsonl"]
    assert store.get("linked/tickets.jsonl") == b"{}"


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="macOS allows Unicode names only")
def test_names_that_are_not_unicode_are_listed_and_read(root: Path) -> None:
    root.mkdir()
    (root / os.fsdecode(b"caf\xe9.jsonl")).write_bytes(b"{}")
    store = DirectoryStore(root)
    (found,) = store.list()
    assert os.fsencode(found.key) == b"caf\xe9.jsonl"
    assert store.get(found.key) == b"{}"


def test_a_failed_download_leaves_the_file_of_before(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DirectoryStore(root)
    store.put("a", b"x" * 100)
    (tmp_path / "copy").write_bytes(b"before")

    def fail(source: object, target: object, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(directory.shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="No space left"):
        store.download("a", tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "store"]
    assert (tmp_path / "copy").read_bytes() == b"before"


def test_small_writes_take_less_than_a_millisecond_beside_the_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory.os, "fsync", lambda descriptor: None)
    store = DirectoryStore(root)
    store.put("answers/t/0", b"x")
    times = []
    for number in range(200):
        started = time.perf_counter()
        store.put(f"answers/t/{number}", b"x" * 2000, if_absent=number > 0)
        times.append(time.perf_counter() - started)
    assert sorted(times)[100] < 0.002  # the median, with room for a loaded machine


NAMES = st.sampled_from(["a", "b", "a-", "ä", "😀"])
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


class DirectoryAgainstModel(RuleBasedStateMachine):
    """A store behaves like a dictionary whose keys are not folders of each other."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = DirectoryStore(Path(self.folder.name) / "store")
        self.model: dict[str, bytes] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    def clashes(self, key: str) -> bool:
        return any(other.startswith(key + "/") or key.startswith(other + "/") for other in self.model)

    @rule(key=KEYS, data=st.binary(max_size=20), if_absent=st.booleans())
    def put(self, key: str, data: bytes, if_absent: bool) -> None:
        if self.clashes(key):
            return
        if if_absent and key in self.model:
            with pytest.raises(Conflict):
                self.store.put(key, data, if_absent=True)
            return
        self.store.put(key, data, if_absent=if_absent)
        self.model[key] = data

    @rule(key=KEYS, data=st.binary(max_size=20))
    def swap(self, key: str, data: bytes) -> None:
        facts = self.store.stat(key)
        assert (facts is None) == (key not in self.model)
        if facts is not None:
            stale = facts.etag
            fresh = self.store.put(key, data, if_match=stale)
            self.model[key] = data
            assert fresh != stale
            with pytest.raises(Conflict):
                self.store.put(key, b"stale", if_match=stale)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.model.pop(key, None)

    @rule(prefix=st.one_of(st.just(""), KEYS, KEYS.map(lambda key: key + "/")))
    def compare(self, prefix: str) -> None:
        want = sorted((key for key in self.model if key.startswith(prefix)), key=str.encode)
        assert [found.key for found in self.store.list(prefix)] == want
        for key in want:
            assert self.store.get(key) == self.model[key]


TestDirectoryAgainstModel = DirectoryAgainstModel.TestCase
TestDirectoryAgainstModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)

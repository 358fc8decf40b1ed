"""Publishing a model: whole or not at all, again without harm, never back to an older one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.store import ObjectStat
from distillery.errors import StageFailed, TransientError
from distillery.stages import asking
from distillery.stages.evaluation import driver
from distillery.stages.evaluation.release import Publication, publish, released_document
from distillery.stages.evaluation.student_answers import StudentPredictor
from evaluation_stage import KeywordModel, World, make_params
from fake_teacher import FakeTeacher
from querying_builders import QUICK

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "deep" / "weights.bin").write_bytes(b"w" * 1000)
    return folder


def publication(model: Path, identity: str = NEW, report: bytes = b"report") -> Publication:
    documents = {"report.html": report, "model/README.md": b"# card"}
    return Publication("router", identity, model, documents, {"retention": 0.97})


class Dying:
    """A store whose process is killed before the n-th change."""

    def __init__(self, store: DirectoryStore, changes: int) -> None:
        self._store = store
        self._left = changes
        self.uri = store.uri

    def _change(self) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1

    def get(self, key: str) -> bytes:
        return self._store.get(key)

    def stat(self, key: str) -> ObjectStat | None:
        return self._store.stat(key)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self._change()
        return self._store.put(key, data, if_absent=if_absent, if_match=if_match)

    def upload(self, key: str, path: Path) -> None:
        self._change()
        self._store.upload(key, path)

    def download(self, key: str, path: Path) -> None:
        self._store.download(key, path)

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._store.delete(key)


def read(store: DirectoryStore, key: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(store.get(key))
    return document


def latest(store: DirectoryStore) -> str:
    return str(read(store, "models/router/latest.json")["version"])


def check_whole(store: DirectoryStore, version: str) -> dict[str, Any]:
    """Check every file of a release against its release.json and return that."""
    release = read(store, f"models/router/{version}/release.json")
    for file in release["files"]:
        data = store.get(f"models/router/{version}/{file['path']}")
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"])
    return release


def test_a_release_is_model_card_and_reports_under_its_version(tmp_path: Path, model: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    version = publish(store, publication(model), now=1_700_000_000.5)
    assert version == NEW[:12]
    release = check_whole(store, version)
    assert [file["path"] for file in release.pop("files")] == [
        "model/config.json",
        "model/deep/weights.bin",
        "model/README.md",
        "report.html",
    ]
    assert release == {
        "format": 1,
        "name": "router",
        "version": version,
        "createdAt": "2023-11-14T22:13:20.500+00:00",
        "evaluation": NEW,
        "retention": 0.97,
    }
    assert read(store, "models/router/latest.json") == {
        "format": 1,
        "name": "router",
        "version": version,
        "createdAt": "2023-11-14T22:13:20.500+00:00",
    }


def test_killed_before_any_change_and_run_again_the_release_is_whole(tmp_path: Path, model: Path) -> None:
    changes = 0
    while True:
        store = DirectoryStore(tmp_path / f"store-{changes}")
        try:
            publish(Dying(store, changes), publication(model), now=1.0)
        except KeyboardInterrupt:
            if changes < 6:
                assert store.stat("models/router/latest.json") is None
            publish(store, publication(model, report=b"another report"), now=2.0)
            check_whole(store, NEW[:12])
            assert latest(store) == NEW[:12]
            changes += 1
            continue
        break
    assert changes == 6


def test_publishing_again_changes_nothing(tmp_path: Path, model: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    publish(store, publication(model), now=1.0)
    before = {item.key: store.get(item.key) for item in store.list()}
    publish(store, publication(model, report=b"another report"), now=2.0)
    assert {item.key: store.get(item.key) for item in store.list()} == before


def test_the_pointer_moves_to_newer_releases_and_never_back(tmp_path: Path, model: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    publish(store, publication(model, OLD), now=1.0)
    assert latest(store) == OLD[:12]
    publish(store, publication(model, NEW), now=2.0)
    assert latest(store) == NEW[:12]
    publish(store, publication(model, OLD), now=3.0)
    assert latest(store) == NEW[:12]
    check_whole(store, OLD[:12])


def test_an_older_release_that_arrives_late_does_not_take_over(tmp_path: Path, model: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    publish(store, publication(model, NEW), now=2.0)
    publish(store, publication(model, OLD), now=1.0)
    assert latest(store) == NEW[:12]


class Racing(DirectoryStore):
    """A store in which another job moves the pointer just before we do."""

    def __init__(self, root: Path, rivals: list[bytes]) -> None:
        super().__init__(root)
        self.rivals = rivals

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if key.endswith("latest.json") and self.rivals:
            super().put(key, self.rivals.pop())
        return super().put(key, data, if_absent=if_absent, if_match=if_match)


def rival(created_at: str) -> bytes:
    return json.dumps({"format": 1, "name": "router", "version": "rival", "createdAt": created_at}).encode()


@pytest.mark.parametrize(("created_at", "want"), [("1970-01-01", NEW[:12]), ("2100-01-01", "rival")])
def test_a_rival_in_between_is_looked_at_again(
    tmp_path: Path, model: Path, created_at: str, want: str
) -> None:
    store = Racing(tmp_path / "store", [rival(created_at)])
    publish(store, publication(model), now=1e9)
    assert latest(store) == want


def test_a_pointer_that_never_rests_is_a_passing_trouble(tmp_path: Path, model: Path) -> None:
    store = Racing(tmp_path / "store", [rival(f"1970-01-01T00:00:{second:02}") for second in range(60)])
    with pytest.raises(TransientError, match="run again"):
        publish(store, publication(model), now=1e9)


def test_the_loser_of_a_race_for_one_version_lists_what_is_there(tmp_path: Path, model: Path) -> None:
    class Late(DirectoryStore):
        """Another writer of the same version finishes while we upload."""

        def upload(self, key: str, path: Path) -> None:
            if key.endswith("weights.bin"):
                publish(DirectoryStore(self.root), publication(model, report=b"theirs"), now=1.0)
            super().upload(key, path)

    store = Late(tmp_path / "store")
    publish(store, publication(model, report=b"ours"), now=2.0)
    assert check_whole(store, NEW[:12])["createdAt"].startswith("1970-01-01T00:00:01")
    assert store.get(f"models/router/{NEW[:12]}/report.html") == b"theirs"


@pytest.mark.parametrize("key", ["latest.json", f"{NEW[:12]}/release.json"])
def test_an_unreadable_document_names_itself_and_the_repair(tmp_path: Path, model: Path, key: str) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put(f"models/router/{key}", b"{")
    with pytest.raises(StageFailed, match="delete it in the store"):
        publish(store, publication(model), now=1.0)


def test_a_document_is_that_of_the_release_once_it_is_complete(tmp_path: Path, model: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        publish(Dying(store, 4), publication(model, report=b'{"p95Ms": 1}'), now=1.0)
    assert store.stat(f"models/router/{NEW[:12]}/report.html") is not None
    assert released_document(store, "router", NEW, "report.html") is None
    publish(store, publication(model, report=b'{"p95Ms": 2}'), now=1.0)
    assert released_document(store, "router", NEW, "report.html") == {"p95Ms": 1}
    assert released_document(store, "router", NEW, "nothing.json") is None
    assert released_document(store, "router", OLD, "report.html") is None


def test_a_verdict_that_released_stays_although_its_process_died_and_the_next_one_is_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish_and_die(*what: Any) -> str:
        publish(*what)
        raise KeyboardInterrupt

    def take(seconds: float) -> None:
        monkeypatch.setattr(StudentPredictor, "time", lambda self, rows, *_: [seconds] * len(rows))

    monkeypatch.setattr(driver.StudentModel, "load", lambda folder, threads=None: KeywordModel())
    monkeypatch.setattr(asking, "EngineOptions", lambda: QUICK)
    world = World(tmp_path)
    with FakeTeacher() as teacher:
        gates = {"retention": {"min": 0.85}, "latency": {"p95Ms": 100}}
        params = make_params(teacher.url, evaluation={"gates": gates})
        take(0.09)
        with monkeypatch.context() as patch:
            patch.setattr(driver, "publish", publish_and_die)
            with pytest.raises(KeyboardInterrupt):
                world.run(params)
        take(0.11)
        again, anew = world.run(params), world.run(params, identity="f" * 64)
    released = read(world.store, f"models/router/{'e' * 12}/verdict.json")
    assert again.document("verdict.json") == released
    assert again.result.summary["verdict"] == "passed"
    assert again.result.summary["releaseVersion"] == "e" * 12
    assert again.document("latency.json")["student"]["p95Ms"] == 90
    assert anew.result.summary["verdict"] == "failed"

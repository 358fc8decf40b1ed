"""Pruning on every store: what goes, what stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from distillery.artifacts import layout
from distillery.artifacts.artifact import Artifact, ArtifactWriter, find_manifest
from distillery.artifacts.manifest import Manifest, ManifestFile
from distillery.artifacts.pruning import DAY, prune
from distillery.artifacts.store import ObjectStore

DONE, OPEN = "aa" * 32, "bb" * 32
KEPT_ALWAYS = (
    "answers/t/shard-0",
    "jobs/uid/ledger/1.json",
    "jobs/uid/pins/recipe.json",
    "models/router/abc/model.safetensors",
    "models/router/latest.json",
    "somebody/elses/file",
)


def manifest(writer: str, files: list[ManifestFile]) -> Manifest:
    return Manifest(stage="student", identity=DONE, recipe="r", writer=writer, files=files, output_digest="d")


def filled(store: ObjectStore, tmp_path: Path) -> Manifest:
    writer = ArtifactWriter(store, "student", DONE, tmp_path)
    writer.write("model/weights", b"weights")
    committed = writer.commit(manifest)
    store.put(layout.writer("student", DONE, "loser") + "model/weights", b"lost")
    store.put(layout.writer("student", OPEN, "dead") + "model/weights", b"half")
    store.put(layout.checkpoints("student", DONE) + "step-10/state", b"s")
    store.put(layout.checkpoints("student", OPEN) + "step-20/state", b"s")
    store.put(layout.probe("forgotten"), b"p")
    for key in KEPT_ALWAYS:
        store.put(key, b"x")
    return committed


def keys(store: ObjectStore) -> list[str]:
    return [found.key for found in store.list()]


def test_a_young_store_loses_only_checkpoints_of_committed_stages(store: ObjectStore, tmp_path: Path) -> None:
    filled(store, tmp_path)
    before = keys(store)
    gone = prune(store, time.time())
    assert gone == [layout.checkpoints("student", DONE) + "step-10/state"]
    assert keys(store) == [key for key in before if key not in gone]


def test_after_a_week_only_what_a_manifest_names_stays(store: ObjectStore, tmp_path: Path) -> None:
    committed = filled(store, tmp_path)
    want = [
        layout.writer("student", DONE, "loser") + "model/weights",
        layout.writer("student", OPEN, "dead") + "model/weights",
        layout.checkpoints("student", DONE) + "step-10/state",
        layout.checkpoints("student", OPEN) + "step-20/state",
        layout.probe("forgotten"),
    ]
    later = time.time() + 7 * DAY + 60
    before = keys(store)
    assert prune(store, later, dry_run=True) == want
    assert keys(store) == before
    assert prune(store, later) == want
    assert keys(store) == [key for key in before if key not in want]
    assert prune(store, later) == []
    found = find_manifest(store, "student", DONE)
    assert found == committed
    assert Artifact(store, found, tmp_path / "cache").read("model/weights") == b"weights"


def test_the_age_can_be_chosen(store: ObjectStore, tmp_path: Path) -> None:
    filled(store, tmp_path)
    assert prune(store, time.time() + DAY, older_than_days=2) == [
        layout.checkpoints("student", DONE) + "step-10/state"
    ]
    assert len(prune(store, time.time() + DAY, older_than_days=0.5)) == 4


def test_a_writer_at_work_finishes_beside_pruning(store: ObjectStore, tmp_path: Path) -> None:
    writer = ArtifactWriter(store, "student", DONE, tmp_path)
    writer.write("a", b"1")
    writer.write("b", b"2")

    def build_after_pruning(build: Callable[[str, list[ManifestFile]], Manifest]) -> Manifest:
        def pruned(writer_id: str, files: list[ManifestFile]) -> Manifest:
            assert prune(store, time.time()) == []
            return build(writer_id, files)

        return writer.commit(pruned)

    committed = build_after_pruning(manifest)
    artifact = Artifact(store, committed, tmp_path / "cache")
    assert (artifact.read("a"), artifact.read("b")) == (b"1", b"2")


def test_an_unreadable_manifest_protects_all_writers_of_its_artifact(
    store: ObjectStore, tmp_path: Path
) -> None:
    filled(store, tmp_path)
    for damaged in (b"not a manifest", b'{"version": 99}'):
        store.put(layout.manifest("student", DONE), damaged)
        gone = prune(store, time.time() + 30 * DAY, dry_run=True)
        assert not [key for key in gone if key.startswith(layout.artifact("student", DONE))]

"""Artifacts on every store: commit, adoption of the winner, verification of every byte read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from distillery.artifacts import layout
from distillery.artifacts.artifact import Artifact, ArtifactWriter, find_manifest
from distillery.artifacts.manifest import Manifest, ManifestFile
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import StageFailed

STAGE, IDENTITY = "teacher", "1f" * 32


def built(output_digest: str = "d") -> Callable[[str, list[ManifestFile]], Manifest]:
    return lambda writer, files: Manifest(
        stage=STAGE,
        identity=IDENTITY,
        recipe="r",
        writer=writer,
        files=files,
        output_digest=output_digest,
        counts={"rows": 2},
    )


def committed(store: ObjectStore, tmp_path: Path, **files: bytes) -> Manifest:
    writer = ArtifactWriter(store, STAGE, IDENTITY, tmp_path / "writers")
    for name, data in files.items():
        writer.write(name.replace("__", "/"), data)
    return writer.commit(built())


def keys(store: ObjectStore) -> list[str]:
    return [found.key for found in store.list()]


def test_a_committed_artifact_is_found_and_read(store: ObjectStore, tmp_path: Path) -> None:
    manifest = committed(store, tmp_path, table=b"rows", model__config=b"{}", model__weights=b"\0" * 1000)
    assert find_manifest(store, STAGE, IDENTITY) == manifest
    assert [(file.path, file.size) for file in manifest.files] == [
        ("model/config", 2),
        ("model/weights", 1000),
        ("table", 4),
    ]
    artifact = Artifact(store, manifest, tmp_path / "cache")
    assert artifact.read("table") == b"rows"
    folder = artifact.folder("model/")
    assert sorted(path.name for path in folder.iterdir()) == ["config", "weights"]
    assert list((tmp_path / "writers").iterdir()) == []


def test_before_the_commit_nothing_counts(store: ObjectStore, tmp_path: Path) -> None:
    writer = ArtifactWriter(store, STAGE, IDENTITY, tmp_path)
    writer.write("table", b"rows")
    assert find_manifest(store, STAGE, IDENTITY) is None
    assert keys(store) == []


def test_the_manifest_is_written_last(store: ObjectStore, tmp_path: Path) -> None:
    writer = ArtifactWriter(store, STAGE, IDENTITY, tmp_path)
    writer.write("table", b"rows")
    seen: list[str] = []

    def build(writer_id: str, files: list[ManifestFile]) -> Manifest:
        seen.extend(keys(store))
        return built()(writer_id, files)

    writer.commit(build)
    payload = layout.writer(STAGE, IDENTITY, writer.writer_id) + "table"
    assert seen == [payload]
    assert keys(store) == [payload, layout.manifest(STAGE, IDENTITY)]


def test_the_loser_adopts_the_winner_and_removes_its_own_payload(store: ObjectStore, tmp_path: Path) -> None:
    winner = committed(store, tmp_path, table=b"winner")
    late = ArtifactWriter(store, STAGE, IDENTITY, tmp_path / "late")
    late.write("table", b"loser")
    assert late.commit(built("other")) == winner
    assert Artifact(store, winner, tmp_path / "cache").read("table") == b"winner"
    assert keys(store) == [
        layout.writer(STAGE, IDENTITY, winner.writer) + "table",
        layout.manifest(STAGE, IDENTITY),
    ]


def test_an_artifact_may_be_without_files(store: ObjectStore, tmp_path: Path) -> None:
    assert committed(store, tmp_path).files == []
    assert keys(store) == [layout.manifest(STAGE, IDENTITY)]


def replaced(store: ObjectStore, key: str, data: bytes) -> None:
    store.put(key, data)


def removed(store: ObjectStore, key: str, data: bytes) -> None:
    store.delete(key)


@pytest.mark.parametrize(
    ("damage", "data", "want"),
    [
        (replaced, b"rOws", "does not match its digest"),
        (replaced, b"row", "has 3 bytes instead of 4"),
        (replaced, b"", "has 0 bytes instead of 4"),
        (replaced, b"rowsrows", "has 8 bytes instead of 4"),
        (removed, b"", "is missing"),
    ],
    ids=["one byte changed", "truncated", "emptied", "extended", "deleted"],
)
def test_damage_is_found_and_the_repair_is_named(
    store: ObjectStore,
    tmp_path: Path,
    damage: Callable[[ObjectStore, str, bytes], None],
    data: bytes,
    want: str,
) -> None:
    manifest = committed(store, tmp_path, table=b"rows", other=b"fine")
    key = layout.writer(STAGE, IDENTITY, manifest.writer) + "table"
    damage(store, key, data)
    artifact = Artifact(store, manifest, tmp_path / "cache")
    with pytest.raises(StageFailed) as caught:
        artifact.read("table")
    assert caught.value.reason == "ArtifactCorrupt"
    assert caught.value.failure_class == "user"
    assert caught.value.message == (
        f"{store.uri}/{key} {want}: delete artifacts/{STAGE}/{IDENTITY}/ in the store and run again to rebuild it; "
        f"on a cluster ask for a rerun of {STAGE}"
    )
    assert artifact.read("other") == b"fine"
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["other"]


def test_a_damaged_local_copy_is_fetched_again(store: ObjectStore, tmp_path: Path) -> None:
    manifest = committed(store, tmp_path, table=b"rows")
    path = Artifact(store, manifest, tmp_path / "cache").local("table")
    path.write_bytes(b"rOws")
    assert Artifact(store, manifest, tmp_path / "cache").read("table") == b"rows"


def test_a_file_that_the_manifest_lacks_does_not_exist(store: ObjectStore, tmp_path: Path) -> None:
    manifest = committed(store, tmp_path, table=b"rows")
    store.put(layout.writer(STAGE, IDENTITY, manifest.writer) + "stray", b"x")
    with pytest.raises(MissingObject, match="stray"):
        Artifact(store, manifest, tmp_path / "cache").local("stray")


@pytest.mark.parametrize(
    ("content", "reason", "want"),
    [
        (b"", "ArtifactCorrupt", "is not a manifest"),
        (b'{"version": 1, "stage": "teacher"', "ArtifactCorrupt", "is not a manifest"),
        (b"[]", "ArtifactCorrupt", "is not a manifest"),
        (b'{"version": 1}', "ArtifactCorrupt", "is not a manifest"),
        (
            b'{"version": 2, "shape": "of tomorrow"}',
            "ArtifactTooNew",
            "written by a newer distillery: upgrade",
        ),
    ],
)
def test_an_unreadable_manifest_is_told(store: ObjectStore, content: bytes, reason: str, want: str) -> None:
    store.put(layout.manifest(STAGE, IDENTITY), content)
    with pytest.raises(StageFailed, match=want) as caught:
        find_manifest(store, STAGE, IDENTITY)
    assert caught.value.reason == reason


def test_a_manifest_in_the_wrong_place_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    committed(store, tmp_path, table=b"rows")
    content = store.get(layout.manifest(STAGE, IDENTITY))
    store.put(layout.manifest(STAGE, "2e" * 32), content)
    with pytest.raises(StageFailed, match="belongs to another artifact"):
        find_manifest(store, STAGE, "2e" * 32)


def test_a_manifest_cannot_name_files_outside_its_folder(store: ObjectStore, tmp_path: Path) -> None:
    committed(store, tmp_path, table=b"rows")
    key = layout.manifest(STAGE, IDENTITY)
    store.put(key, store.get(key).replace(b'"table"', b'"../../table"'))
    with pytest.raises(StageFailed, match="is not a manifest"):
        find_manifest(store, STAGE, IDENTITY)

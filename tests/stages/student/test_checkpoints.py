from __future__ import annotations

from pathlib import Path

import pytest

from distillery.artifacts import layout
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import StageFailed, TransientError
from distillery.stages.student.checkpoints import MARKER, Checkpoints, StoredFile

IDENTITY = "1" * 64


class Place:
    """A store with checkpoints and a scratch folder; `reader()` is another process on another machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, DirectoryStore(folder / "store")
        self.warnings: list[str] = []
        self.writer = self.reader()
        self._readers = 0

    def reader(self) -> Checkpoints:
        self._readers = getattr(self, "_readers", 0) + 1
        scratch = self.folder / f"scratch{self._readers}"
        return Checkpoints(self.store, IDENTITY, scratch, self.warnings.append)

    def file(self, content: str) -> Path:
        path = self.folder / "file"
        path.write_text(content)
        return path

    def names(self) -> list[str]:
        prefix = layout.checkpoints("student", IDENTITY)
        return [found.key.removeprefix(prefix) for found in self.store.list(prefix)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_newest_checkpoint_is_found_again(place: Place) -> None:
    assert place.reader().newest() is None
    place.writer.save(9, {"state.pt": place.file("nine")})
    place.writer.save(10, {"state.pt": place.file("ten")})
    found = place.reader().newest()
    assert found is not None
    assert (found.step, found.finished, found.local["state.pt"].read_text()) == (10, False, "ten")


def test_only_two_checkpoints_stay_and_what_they_refer_to(place: Place) -> None:
    best = place.writer.save(1, {"state.pt": place.file("one"), "best.pt": place.file("best")})["best.pt"]
    for step in (2, 3, 4):
        place.writer.save(step, {"state.pt": place.file(str(step)), "best.pt": best})
    assert sorted(key.partition("-")[0] + "/" + key.rpartition("/")[2] for key in place.names()) == [
        "0000000001/best.pt",
        f"0000000003/{MARKER}",
        "0000000003/state.pt",
        f"0000000004/{MARKER}",
        "0000000004/state.pt",
    ]
    newer = place.writer.save(5, {"state.pt": place.file("5"), "best.pt": place.file("better")})["best.pt"]
    place.writer.save(6, {"state.pt": place.file("6"), "best.pt": newer})
    assert not any(key.startswith("0000000001") for key in place.names())


@pytest.mark.parametrize("harm", ["changed", "cut", "missing"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(place: Place, harm: str) -> None:
    place.writer.save(1, {"state.pt": place.file("one")})
    key = place.writer.save(2, {"state.pt": place.file("two")})["state.pt"].key
    if harm == "missing":
        place.store.delete(key)
    else:
        place.store.put(key, b"2wo" if harm == "changed" else b"t")
    found = place.reader().newest()
    assert found is not None
    assert (found.step, found.local["state.pt"].read_text()) == (1, "one")
    assert len(place.warnings) == 1
    assert "step 2" in place.warnings[0]


def test_an_unreadable_marker_is_passed_over(place: Place) -> None:
    place.writer.save(1, {"state.pt": place.file("one")})
    place.writer.save(2, {"state.pt": place.file("two")})
    newest = next(key for key in place.names() if key.startswith("0000000002") and key.endswith(MARKER))
    place.store.put(layout.checkpoints("student", IDENTITY) + newest, b'{"step":')
    found = place.reader().newest()
    assert found is not None
    assert found.step == 1


def test_a_checkpoint_without_its_marker_does_not_exist(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.writer.save(1, {"state.pt": place.file("one")})

    def refuse(*_: object, **__: object) -> str:
        raise TransientError("the line is cut")

    monkeypatch.setattr(place.store, "put", refuse)
    with pytest.raises(TransientError):
        place.writer.save(2, {"state.pt": place.file("two")})
    found = place.reader().newest()
    assert found is not None
    assert found.step == 1


def test_the_finished_checkpoint_comes_before_all_others(place: Place) -> None:
    place.writer.save(7, {"state.pt": place.file("seven")})
    assert place.reader().newest(finished=True) is None
    place.writer.save(7, {"model/weights": place.file("done")}, finished=True)
    for found in (place.reader().newest(), place.reader().newest(finished=True)):
        assert found is not None
        assert found.finished
        assert found.local["model/weights"].read_text() == "done"


def test_two_writers_of_one_identity_do_not_harm_each_other(place: Place) -> None:
    other = place.reader()
    for step in (1, 2, 3):
        place.writer.save(step, {"state.pt": place.file(f"mine {step}")})
        other.save(step, {"state.pt": place.file(f"theirs {step}")})
    found = place.reader().newest()
    assert found is not None
    assert found.step == 3


def test_files_on_local_disk_are_not_fetched_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.writer.save(1, {"state.pt": place.file("one")})
    reader = place.reader()
    assert reader.newest() is not None
    monkeypatch.setattr(place.store, "download", None)
    assert reader.newest() is not None


def test_a_stored_file_that_is_damaged_says_how_to_start_again(place: Place) -> None:
    stored = place.writer.save(1, {"best.pt": place.file("best")})["best.pt"]
    assert place.reader().local(stored).read_text() == "best"
    damaged = StoredFile(key=stored.key, size=stored.size, sha256="0" * 64)
    with pytest.raises(StageFailed, match=r"delete checkpoints/student/.* and run again"):
        place.reader().local(damaged)

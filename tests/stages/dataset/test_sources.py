"""Which files a source means, and the digest that pins them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import digest
from distillery.artifacts.store import ObjectStore
from distillery.errors import SpecError, StageFailed
from distillery.stages.dataset.sources import PinnedFile, find_sources, pin_sources
from distillery.stages.dataset.spec import SourceParams

FILES = [
    "a.jsonl",
    "b.jsonl",
    "b.json",
    ".hidden.jsonl",
    "in/c.jsonl",
    "in/deep/d.jsonl",
    ".no/e.jsonl",
    "[x].jsonl",
]
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

EXPANSIONS = [
    ("a.jsonl", ["a.jsonl"]),
    ("*.jsonl", ["[x].jsonl", "a.jsonl", "b.jsonl"]),
    ("?.jsonl", ["a.jsonl", "b.jsonl"]),
    ("b.*", ["b.json", "b.jsonl"]),
    ("[x].jsonl", ["[x].jsonl"]),
    (".h*.jsonl", [".hidden.jsonl"]),
    ("*/*.jsonl", ["in/c.jsonl"]),
    ("in/**", ["in/c.jsonl", "in/deep/d.jsonl"]),
    ("**/d.jsonl", ["in/deep/d.jsonl"]),
    ("**/*.jsonl", ["[x].jsonl", "a.jsonl", "b.jsonl", "in/c.jsonl", "in/deep/d.jsonl"]),
    ("i*/d*/?.jsonl", ["in/deep/d.jsonl"]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("hello")
    return tmp_path / "data"


def open_folder(uri: str, endpoint: str | None, credentials_secret: str | None) -> ObjectStore:
    return DirectoryStore(Path(uri.partition("://")[2]))


def refuse(uri: str, endpoint: str | None, credentials_secret: str | None) -> ObjectStore:
    raise StageFailed("StoreUnusable", "access denied", "user")


def source(uri: str, **fields: Any) -> SourceParams:
    return SourceParams(uri=uri, **fields)


@pytest.mark.parametrize("scheme", ["file", "s3"])
@pytest.mark.parametrize(("pattern", "want"), EXPANSIONS)
def test_a_pattern_means_the_same_files_on_disk_and_in_a_store(
    folder: Path, tmp_path: Path, scheme: str, pattern: str, want: list[str]
) -> None:
    found = find_sources([source(f"{scheme}://{folder}/{pattern}")], open_folder, tmp_path / "cache")
    assert [file.uri for file in found] == [f"{scheme}://{folder}/{name}" for name in want]
    assert [file.path.read_text() for file in found] == ["hello"] * len(want)


def test_the_pin_lists_addresses_sizes_and_digests_in_order(folder: Path) -> None:
    pinned, files = pin_sources(
        [source(f"file://{folder}/b.jsonl"), source(f"file://{folder}/?.jsonl")], refuse
    )
    want = [PinnedFile(f"file://{folder}/{name}", 5, HELLO) for name in ("a.jsonl", "b.jsonl")]
    assert files == want
    assert pinned == digest([[file.uri, 5, HELLO] for file in want])


def test_the_pin_changes_with_every_byte_and_with_new_files(folder: Path) -> None:
    sources = [source(f"file://{folder}/*.jsonl")]
    pins = [pin_sources(sources, refuse)[0], pin_sources(sources, refuse)[0]]
    (folder / "a.jsonl").write_text("hallo")
    pins.append(pin_sources(sources, refuse)[0])
    (folder / "new.jsonl").write_text("")
    pins.append(pin_sources(sources, refuse)[0])
    assert pins[0] == pins[1]
    assert len(set(pins)) == 3


def test_an_object_is_fetched_once_while_it_does_not_change(folder: Path, tmp_path: Path) -> None:
    fetched = []

    class Counting(DirectoryStore):
        def download(self, key: str, path: Path) -> None:
            fetched.append(key)
            super().download(key, path)

    def open_counting(uri: str, endpoint: str | None, credentials_secret: str | None) -> ObjectStore:
        return Counting(Path(uri.partition("://")[2]))

    sources = [source(f"s3://{folder}/?.jsonl")]
    for _ in range(2):
        find_sources(sources, open_counting, tmp_path / "cache")
    DirectoryStore(folder).put("a.jsonl", b"other")
    found = find_sources(sources, open_counting, tmp_path / "cache")
    assert fetched == ["a.jsonl", "b.jsonl", "a.jsonl"]
    assert [file.path.read_text() for file in found] == ["other", "hello"]


def test_a_source_is_opened_with_its_own_endpoint_and_secret(folder: Path, tmp_path: Path) -> None:
    asked = []

    def remember(uri: str, endpoint: str | None, credentials_secret: str | None) -> ObjectStore:
        asked.append((uri, endpoint, credentials_secret))
        return open_folder(uri, endpoint, credentials_secret)

    named = source(f"s3://{folder}/in/c.jsonl", endpoint="http://s3:9000", credentials_secret="other")
    find_sources([named, source(f"s3://{folder}/a.jsonl")], remember, tmp_path / "cache")
    assert asked == [(f"s3://{folder}/in", "http://s3:9000", "other"), (f"s3://{folder}", None, None)]


BAD: dict[str, tuple[list[str], str]] = {
    "no such folder": (
        ["file://{d}/nowhere/*.jsonl"],
        "spec.dataset.sources[0].uri: file://{d}/nowhere/*.jsonl matches no file: there is no folder {d}/nowhere"
        " → check the path; it must be absolute",
    ),
    "a misspelt file": (
        ["file://{d}/in/cc.jsonl"],
        "spec.dataset.sources[0].uri: file://{d}/in/cc.jsonl matches no file"
        " → did you mean 'c.jsonl'? the folder holds: c.jsonl, deep",
    ),
    "a glob that matches nothing": (
        ["file://{d}/a.jsonl", "file://{d}/in/*.json"],
        "spec.dataset.sources[1].uri: file://{d}/in/*.json matches no file"
        " → did you mean 'c.jsonl'? the folder holds: c.jsonl, deep",
    ),
    "a folder": (
        ["file://{d}/in"],
        "spec.dataset.sources[0].uri: file://{d}/in is a folder → write file://{d}/in/*.jsonl",
    ),
    "a misspelt object": (
        ["s3://{d}/in/deep/e.jsonl"],
        "spec.dataset.sources[0].uri: s3://{d}/in/deep/e.jsonl matches no file"
        " → did you mean 'd.jsonl'? the folder holds: d.jsonl",
    ),
    "an empty prefix": (
        ["s3://{d}/none/*"],
        "spec.dataset.sources[0].uri: s3://{d}/none/* matches no file → the folder is empty",
    ),
    "a bucket without an object": (
        ["s3://bucket"],
        "spec.dataset.sources[0].uri: s3://bucket names no object → write s3://bucket/folder/*.jsonl",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_source_without_files_says_what_is_there_instead(folder: Path, tmp_path: Path, name: str) -> None:
    uris, want = BAD[name]
    sources = [source(uri.replace("{d}", str(folder))) for uri in uris]
    with pytest.raises(SpecError) as caught:
        find_sources(sources, open_folder, tmp_path / "cache")
    assert str(caught.value) == want.replace("{d}", str(folder))


def test_one_file_cannot_have_two_formats(folder: Path, tmp_path: Path) -> None:
    sources = [source(f"file://{folder}/*.jsonl"), source(f"file://{folder}/a.jsonl", format="chat")]
    with pytest.raises(SpecError) as caught:
        find_sources(sources, refuse, tmp_path)
    want = f"spec.dataset.sources[1]: {folder}/a.jsonl is matched as plain and as chat → give every file one format"
    assert str(caught.value) == want


def test_an_unreadable_file_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may read everything, so the refusal has to be played.
    def denied(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("distillery.stages.dataset.sources.file_digest", denied)
    with pytest.raises(SpecError) as caught:
        pin_sources([source(f"file://{folder}/a.jsonl")], refuse)
    want = (
        f"{folder}/a.jsonl: cannot read {folder}/a.jsonl: Permission denied → check the file and its rights"
    )
    assert str(caught.value) == want


def test_a_store_that_refuses_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(StageFailed) as caught:
        find_sources([source("s3://logs/*.jsonl")], refuse, tmp_path)
    assert caught.value.args == (
        "StoreUnusable",
        "spec.dataset.sources[0].uri s3://logs/*.jsonl: access denied",
        "user",
    )


def test_finding_sources_imports_no_heavy_library(run_python: Callable[[str], str]) -> None:
    code = (
        "import sys, distillery.stages.dataset.sources, distillery.stages.dataset.spec\n"
        "print(sorted({'ray', 'torch', 'transformers', 'pyarrow', 'numpy', 'boto3', 'aiohttp'} & set(sys.modules)))"
    )
    assert run_python(code) == "[]\n"

"""Stores that lack what the rest relies on are found out before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillery.artifacts.checking import check_store
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import StageFailed


class IgnoresIfAbsent(DirectoryStore):
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        return super().put(key, data, if_match=if_match)


class IgnoresIfMatch(DirectoryStore):
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        return super().put(key, data, if_absent=if_absent)


class Forgets(DirectoryStore):
    def get(self, key: str) -> bytes:
        return b"something else"


@pytest.mark.parametrize(
    ("kind", "want"),
    [
        (IgnoresIfAbsent, "ignores If-None-Match: use a server with conditional writes"),
        (IgnoresIfMatch, "ignores If-Match: use a server with conditional writes"),
        (Forgets, "returns other bytes than were written"),
    ],
)
def test_a_store_that_breaks_the_promise_is_refused(
    tmp_path: Path, kind: type[DirectoryStore], want: str
) -> None:
    store = kind(tmp_path / "store")
    with pytest.raises(StageFailed, match=want) as caught:
        check_store(store)
    assert (caught.value.reason, caught.value.failure_class) == ("StoreUnusable", "user")
    assert list(store.list()) == []

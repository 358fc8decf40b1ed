"""The order and the limits of listings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from distillery.artifacts.store import ObjectStore

TRICKY = (
    "a",
    "a b",
    "a!",
    "a+/b",
    "a-b",
    "a.b/c",
    "a0",
    "aa/b/c",
    "aa/b-c",
    "aa/b.c",
    "aa/b0",
    "B",
    "b/Z",
    "b/a",
    "b/z",
    "b/é",
    "b/ﬀ",
    "b/😀",
    "~",
    "é/x",
)


def listed(store: ObjectStore, prefix: str = "") -> list[str]:
    return [found.key for found in store.list(prefix)]


def test_listings_are_in_the_order_of_the_bytes_of_whole_keys(store: ObjectStore) -> None:
    for key in reversed(TRICKY):
        store.put(key, b"")
    assert listed(store) == sorted(TRICKY, key=str.encode)


def test_a_prefix_may_end_within_a_name(store: ObjectStore) -> None:
    for key in TRICKY:
        store.put(key, b"")
    for prefix in ("a", "aa", "aa/", "aa/b", "aa/b-", "b/", "B", "é", "x", "a/", "aa/b/c", "aa/b/cc"):
        want = sorted((key for key in TRICKY if key.startswith(prefix)), key=str.encode)
        assert listed(store, prefix) == want, prefix


def test_long_listings_are_complete(store: ObjectStore) -> None:
    keys = [f"answers/{number:05d}" for number in range(1005)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda key: store.put(key, b"x"), keys))
    assert listed(store, "answers/") == keys


def test_objects_may_vanish_while_they_are_listed(store: ObjectStore) -> None:
    for number in range(5):
        store.put(f"a/{number}", b"x")
    listing = store.list("a/")
    first = next(listing)
    for number in range(5):
        store.delete(f"a/{number}")
    rest = [found.key for found in listing]
    assert first.key == "a/0"
    assert set(rest) <= {f"a/{number}" for number in range(1, 5)}

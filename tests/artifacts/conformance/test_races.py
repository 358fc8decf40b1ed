"""Several writers at once, as threads and as processes: exactly one wins, nothing is torn, nothing is lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import children
from artifacts.places import Place
from distillery.artifacts import layout
from distillery.artifacts.artifact import find_manifest
from distillery.artifacts.store import ObjectStore
from distillery.errors import Conflict

PROCESSES = 4


def race(place: Place, *tasks: tuple[str, ...]) -> list[str]:
    """Run tasks in processes that start together; return what each says."""
    processes = [place.start(*task) for task in tasks]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [process.communicate(timeout=60)[0].strip() for process in processes]
    finally:
        for process in processes:
            children.end(process)


def test_of_many_threads_one_creates_the_object(store: ObjectStore) -> None:
    for attempt in range(5):
        barrier = threading.Barrier(8)

        def create(number: int, attempt: int = attempt, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait(60)
            try:
                store.put(f"race/{attempt}", f"{number}".encode() * 5000, if_absent=True)
            except Conflict:
                return None
            return number

        with ThreadPoolExecutor(8) as threads:
            winners = [number for number in threads.map(create, range(8)) if number is not None]
        assert len(winners) == 1
        assert store.get(f"race/{attempt}") == f"{winners[0]}".encode() * 5000


def test_of_many_processes_one_creates_the_object(place: Place, store: ObjectStore) -> None:
    outcomes = race(place, *(("create", "race", f"process {number}") for number in range(PROCESSES)))
    assert sorted(outcomes) == ["lost"] * (PROCESSES - 1) + ["won"]
    assert store.get("race") == f"process {outcomes.index('won')}".encode()


def test_no_update_is_lost_between_threads(store: ObjectStore) -> None:
    store.put("counter", b"0")

    def count() -> None:
        for _ in range(8):
            while True:
                facts = store.stat("counter")
                assert facts is not None
                number = int(store.get("counter"))
                try:
                    store.put("counter", str(number + 1).encode(), if_match=facts.etag)
                    break
                except Conflict:
                    continue

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(count) for _ in range(4)]:
            done.result()
    assert store.get("counter") == b"32"


def test_no_update_is_lost_between_processes(place: Place, store: ObjectStore) -> None:
    store.put("counter", b"0")
    race(place, *(("count", "counter", "25") for _ in range(3)))
    assert store.get("counter") == b"75"


def test_processes_that_commit_together_agree_on_the_winner(place: Place, store: ObjectStore) -> None:
    identity = "ab" * 32
    outcomes = [said.split() for said in race(place, *[("commit", "student", identity)] * PROCESSES)]
    manifest = find_manifest(store, "student", identity)
    assert manifest is not None
    assert {counts for _, counts in outcomes} == {manifest.writer}
    assert sum(mine == counts for mine, counts in outcomes) == 1
    assert [found.key for found in store.list()] == [
        layout.writer("student", identity, manifest.writer) + "who.txt",
        layout.manifest("student", identity),
    ]


@pytest.mark.parametrize("size", [10, 300_000])
def test_readers_never_see_a_torn_object(store: ObjectStore, size: int) -> None:
    contents = [bytes([number]) * (size + number) for number in range(20)]
    store.put("object", contents[0])
    over = threading.Event()

    def read() -> int:
        reads = 0
        while not over.is_set() or reads == 0:
            assert store.get("object") in contents
            facts = store.stat("object")
            assert facts is not None
            assert facts.size in {len(content) for content in contents}
            reads += 1
        return reads

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            for content in contents:
                store.put("object", content)
        finally:
            over.set()
        assert all(reader.result() > 0 for reader in readers)
    assert store.get("object") == contents[-1]


def test_folders_come_and_go_beside_writers(store: ObjectStore) -> None:
    def write_and_delete(number: int) -> None:
        for step in range(15):
            key = f"shared/folder/{number}-{step}"
            store.put(key, b"x")
            store.delete(key)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(write_and_delete, number) for number in range(4)]:
            done.result()
    assert list(store.list()) == []

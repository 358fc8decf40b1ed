"""What a crash may cost: nothing that is in the journal, and never an unrecorded bill."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

import children
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import StageFailed
from distillery.querying.answers import Answer
from distillery.querying.ledger import read_ledger
from fake_teacher import FakeTeacher, read_bill
from querying_builders import bill_micro, make_engine, make_questions, make_settings

CONCURRENCY = 8  # of make_settings
DELAY = 0.02
WINDOW = 0.1


class DyingStore(DirectoryStore):
    """From its n-th change on nothing reaches the disk any more, as after a crash."""

    def __init__(self, root, changes):
        super().__init__(root)
        self.left = changes

    def put(self, key, data, **conditions):
        self._count()
        return super().put(key, data, **conditions)

    def delete(self, key):
        self._count()
        super().delete(key)

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise StageFailed("StoreUnusable", "dead")


def ask(store, teacher, count, attempt):
    with make_engine(make_settings(teacher.url), store, attempt=attempt) as engine:
        return engine.ask(make_questions(count))


def check(store, bill):
    totals = read_ledger(store, "job-1")
    assert totals.exact.spent + totals.exact.unknown >= bill_micro(bill) * 10**6
    return totals


def all_or_some(numbers, step):
    """Every n-th case in the quick suite, all of them in the long one."""
    return [
        number if number % step == 0 else pytest.param(number, marks=pytest.mark.soak) for number in numbers
    ]


@pytest.mark.parametrize("changes", all_or_some(range(24), 3))
def test_after_a_crash_at_any_write_everything_paid_and_filed_is_kept(tmp_path, changes):
    count = 24
    store = DirectoryStore(tmp_path)
    with FakeTeacher(delay=0.005) as teacher:
        with contextlib.suppress(StageFailed):
            ask(DyingStore(tmp_path, changes), teacher, count, 1)
        before = check(store, teacher.bill)
        results = ask(store, teacher, count, 2)
        assert all(isinstance(result, Answer) for result in results)
        after = check(store, teacher.bill)
        assert after.exact.unknown == before.exact.unknown
        assert after.recovered == ()
        bought = Counter(call["row"] for call in teacher.bill)
        assert max(bought.values()) <= 2
        paid = len(teacher.bill)
        ask(store, teacher, count, 3)
        assert len(teacher.bill) == paid


def kill_and_resume(folder, kills, count, seed):
    """Kill an asking process at random moments, let the last one finish; returns the bill."""
    bill_file = folder / "bill.jsonl"
    repository = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{repository}/operator:{repository}/tests"}
    rng = random.Random(seed)
    teacher = children.start(
        [sys.executable, repository / "tests/fake_teacher.py", "--bill", bill_file, "--delay", str(DELAY)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = teacher.stdout.readline().strip()
        for attempt in range(1, kills + 2):
            command = [sys.executable, Path(__file__).parent / "asker.py", url, folder / "store"]
            with children.running(
                [*command, str(count), str(attempt)], stdout=subprocess.PIPE, text=True, env=environment
            ) as asker:
                assert asker.stdout.readline() == "asking\n"
                if attempt <= kills:
                    time.sleep(rng.uniform(0.05, 0.5))
                    asker.kill()
                else:
                    assert asker.communicate(timeout=90)[0] == f"answered {count}\n"
            time.sleep(2 * DELAY)
            check(DirectoryStore(folder / "store"), read_bill(bill_file))
        return read_bill(bill_file)
    finally:
        children.end(teacher)


def check_kills(folder, kills, count, seed):
    bill = kill_and_resume(folder, kills, count, seed)
    bought = Counter(call["row"] for call in bill)
    assert len(bought) == count
    again = len(bill) - count
    in_one_window = CONCURRENCY / DELAY * WINDOW
    # Twice, since the bill counts calls that a loaded machine had not yet read when it was killed.
    assert again <= kills * (CONCURRENCY + 2 * in_one_window)
    totals = read_ledger(DirectoryStore(folder / "store"), "job-1")
    assert totals.unknown_micro <= kills * 2 * CONCURRENCY * Decimal(2000)
    assert len(list(DirectoryStore(folder / "store").list("answers/"))) <= kills + 2


def test_kill_9_loses_at_most_what_is_in_flight_and_one_commit_window(tmp_path):
    check_kills(tmp_path, kills=2, count=400, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_many_kills_lose_at_most_what_is_in_flight_and_one_commit_window(tmp_path, seed):
    check_kills(tmp_path, kills=20, count=4000, seed=seed)

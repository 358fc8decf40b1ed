"""Rows, bad rows and a teacher that goes away, in simulated time.

The judgement is querying.retry's: the world only sends, waits and carries out what it says.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.querying.answers import Question
from distillery.querying.dispatch import PendingRequest, RequestQueue
from distillery.querying.history import TeacherHistory
from distillery.querying.limits import EngineOptions
from distillery.querying.replies import Failed
from distillery.querying.retry import (
    WITNESSES,
    LeaveUnanswered,
    Retry,
    TeacherDown,
    after_failure,
    before_call,
)

OPTIONS = EngineOptions()
OUTAGE, STARTUP, TIMEOUT = OPTIONS.outage_seconds, OPTIONS.startup_seconds, OPTIONS.timeout_seconds
WORST_BACKOFF = OPTIONS.longest_backoff_seconds
FOREVER = float("inf")


@dataclass
class World:
    """A teacher that answers within two seconds, except bad and hanging rows, and except while it is away."""

    rows: int
    bad: frozenset[int] = frozenset()
    hanging: frozenset[int] = frozenset()
    away: Sequence[tuple[float, float]] = ()
    concurrency: int = 8
    luck: random.Random = field(default_factory=lambda: random.Random(0))
    now: float = 0.0
    answered: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    down: bool = False
    answered_at: list[float] = field(default_factory=list)

    def run(self) -> World:
        self.queue = RequestQueue(
            PendingRequest(Question(str(number), []), str(number), 0) for number in range(self.rows)
        )
        self.teacher = TeacherHistory.begin(OPTIONS, self.concurrency)
        self.calls: list[tuple[float, int, PendingRequest]] = []
        while (self.queue or self.calls) and not self.down:
            self._send()
            if not self.down:
                self._wait()
        return self

    def _judged(self, under_way: int) -> TeacherHistory:
        return self.teacher.beside(under_way, fresh_left=bool(self.queue.fresh))

    def _send(self) -> None:
        while self.queue and len(self.calls) < self.concurrency:
            if before_call(self._judged(len(self.calls)), self.now) is not None:
                self.down = True
                return
            request = self.queue.take(self.teacher, self.now)
            if request is None:
                return
            self.teacher = self.teacher.with_call(request.row, self.now)
            request.row = request.row.with_call(self.now)
            seconds = TIMEOUT if int(request.key) in self.hanging else self.luck.uniform(0.05, 2.0)
            heapq.heappush(self.calls, (self.now + seconds, self.luck.getrandbits(40), request))

    def _wait(self) -> None:
        """Let time pass until something can happen."""
        times = [self.calls[0][0]] if self.calls else []
        if len(self.calls) < self.concurrency:
            times += [self.now + 0.25] if self.queue.fresh else []
            due = self.queue.next_retry()
            times += [max(due, self.now)] if due is not None else []
        self.now = min(times)
        if self.calls and self.calls[0][0] <= self.now:
            self._reply_to(heapq.heappop(self.calls)[2])

    def _reply_to(self, request: PendingRequest) -> None:
        number = int(request.key)
        if number in self.hanging:
            self._fail(request, Failed("TimedOut", "no reply"))
        elif number in self.bad or any(start <= self.now < end for start, end in self.away):
            self._fail(request, Failed("ServerError", "503"))
        else:
            self.teacher = self.teacher.with_answer(self.now)
            self.answered.append(request.key)
            self.answered_at.append(self.now)

    def _fail(self, request: PendingRequest, reply: Failed) -> None:
        teacher = self._judged(len(self.calls) + 1)
        request.row = request.row.with_failure(reply, teacher, self.now, self.luck.random())
        self.teacher = teacher.with_failure(request.row, self.now)
        match after_failure(request.row, self.teacher, self.now):
            case Retry(at=at):
                self.queue.retry(request, at)
            case LeaveUnanswered():
                self.left.append(request.key)
            case TeacherDown():
                self.down = True


def bad_rows(most: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(0, 119), max_size=most)


worlds = {
    "rows": st.integers(1, 120),
    "concurrency": st.sampled_from([1, 2, 8, 16, 64]),
    "seed": st.integers(0, 10**6),
}


@settings(max_examples=60, deadline=None)
@given(**worlds, bad=bad_rows(WITNESSES - 1), start=st.floats(0, 100), length=st.floats(0, 50))
def test_an_outage_shorter_than_the_patience_costs_no_good_row_and_bad_rows_are_left(
    rows, concurrency, seed, bad, start, length
):
    if start < 5.0:
        length = min(length, 1.0)  # a teacher that never answered gets less time
    world = World(
        rows, bad, away=[(start, start + length)], concurrency=concurrency, luck=random.Random(seed)
    ).run()
    assert not world.down
    assert {int(key) for key in world.left} == {row for row in bad if row < rows}
    assert len(world.answered) + len(world.left) == rows


@settings(max_examples=60, deadline=None)
@given(**worlds, start=st.floats(0, 60))
def test_a_teacher_that_stays_away_ends_the_round_unless_only_few_rows_are_left(
    rows, concurrency, seed, start
):
    world = World(rows, away=[(start, FOREVER)], concurrency=concurrency, luck=random.Random(seed)).run()
    missing = rows - len(world.answered)
    assert world.down == (missing >= WITNESSES)
    assert world.down or len(world.left) == missing
    last = max(world.answered_at, default=0.0)
    assert world.now <= last + 2 + OUTAGE + WORST_BACKOFF + 2 + 60 * (concurrency == 1)


@settings(max_examples=60, deadline=None)
@given(**worlds, bad=bad_rows(120), start=st.floats(0, 200), length=st.floats(0, 500))
def test_whatever_happens_the_round_ends(rows, concurrency, seed, bad, start, length):
    world = World(
        rows, bad, away=[(start, start + length)], concurrency=concurrency, luck=random.Random(seed)
    ).run()
    assert world.down or len(world.answered) + len(world.left) == rows
    assert world.now <= 2 * rows + 8 * rows * 2 + length + 300


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_bad_rows_that_failed_while_others_were_answered_are_no_outage_however_many_they_are(concurrency):
    for seed in range(5):
        world = World(
            400, frozenset(range(0, 300, 10)), concurrency=concurrency, luck=random.Random(seed)
        ).run()
        assert (world.down, len(world.left)) == (False, 30)


def test_the_last_row_alone_is_left_when_the_time_of_an_outage_is_over():
    world = World(50, frozenset({49})).run()
    assert (world.down, world.left) == (False, ["49"])
    assert OUTAGE <= world.now <= 2 * OUTAGE


def test_before_the_first_answer_a_few_rows_are_left_and_many_are_an_outage():
    few = World(WITNESSES - 1, away=[(0, FOREVER)]).run()
    many = World(60, away=[(0, FOREVER)], concurrency=64).run()
    assert (few.down, len(few.left), many.down) == (False, WITNESSES - 1, True)
    assert STARTUP <= many.now <= 3 * STARTUP


def test_an_outage_of_a_few_seconds_at_the_start_costs_no_row_though_all_are_under_way():
    world = World(60, away=[(0, 3.5)], concurrency=64).run()
    assert (world.down, len(world.answered)) == (False, 60)


@pytest.mark.parametrize("concurrency", [8, 16, 64, 256])
def test_rows_whose_calls_hang_while_others_are_answered_are_no_outage_however_many_they_are(concurrency):
    for seed in range(5):
        hanging = frozenset(range(0, 300, 10))
        world = World(1000, hanging=hanging, concurrency=concurrency, luck=random.Random(seed)).run()
        assert not world.down
        assert {int(key) for key in world.left} == hanging

"""Rows, bad rows and a teacher that goes away, in simulated time: circuit breaker, requests and queue together."""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.querying.answers import Question, UnansweredReason
from distillery.querying.circuit_breaker import WITNESSES, CircuitBreaker
from distillery.querying.request_queue import PendingRequest, RequestQueue, backoff

OUTAGE, STARTUP = 90.0, 10.0
FOREVER = float("inf")
WORST_BACKOFF = 30.0
TIMEOUT = 600.0


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
        requests = [PendingRequest(Question(str(number), []), str(number), 0) for number in range(self.rows)]
        self.queue = RequestQueue(requests)
        self.breaker = CircuitBreaker(max(8, self.concurrency), OUTAGE, STARTUP)
        self.calls: list[tuple[float, int, PendingRequest]] = []
        self.breaker.begin()
        while (self.queue or self.calls) and not self.down:
            self._start()
            self._go_on()
        return self

    def _start(self) -> None:
        breaker, queue = self.breaker, self.queue
        while queue and len(self.calls) < self.concurrency and not self.down:
            if queue.fresh and breaker.is_down(self.now, len(self.calls)):
                self.down = True
                return
            waiting = len(queue.fresh)
            request = queue.take(self.now, breaker.allows_fresh(self.now), probe=breaker.is_open)
            if request is None:
                return
            if len(queue.fresh) < waiting:
                breaker.sent_fresh(self.now)
            request.sent_at = self.now
            seconds = TIMEOUT if int(request.key) in self.hanging else self.luck.uniform(0.05, 2.0)
            heapq.heappush(self.calls, (self.now + seconds, self.luck.getrandbits(40), request))

    def _go_on(self) -> None:
        if self.down:
            return
        times = [self.calls[0][0]] if self.calls else []
        if len(self.calls) < self.concurrency:
            times += [self.now + 0.25] if self.queue.fresh else []
            due = self.queue.next_retry()
            times += [max(due, self.now)] if due is not None else []
        self.now = min(times)
        if self.calls and self.calls[0][0] <= self.now:
            self._conclude(heapq.heappop(self.calls)[2])

    def _conclude(self, request: PendingRequest) -> None:
        breaker, fresh = self.breaker, bool(self.queue.fresh)
        hangs = int(request.key) in self.hanging
        if (
            not hangs
            and int(request.key) not in self.bad
            and not any(start <= self.now < end for start, end in self.away)
        ):
            breaker.succeeded(self.now)
            self.answered.append(request.key)
            self.answered_at.append(self.now)
            return
        reason: UnansweredReason = "TimedOut" if hangs else "ServerError"
        request.fail(reason, self.now, breaker.responded_at, spared=breaker.is_open and fresh)
        breaker.failed(self.now, request, "503")
        if breaker.is_down(self.now, len(self.calls) + 1):
            self.down = True
        elif breaker.leaves(request, self.now, fresh=fresh):
            self.left.append(request.key)
        else:
            self.queue.retry(
                request, self.now + backoff(request.tries, 0.5, WORST_BACKOFF, self.luck.random())
            )


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

"""Which key is worked on when: the queue's rules without tasks, clocks or waiting. Pure, times are given."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Back-off after errors in seconds: doubled from the first to the longest, each times 0.5 … 1."""


class Schedule(Generic[Key]):
    """Keys that are ready, due later, or being worked on. A key is in at most one of the three.

    An event during work makes the key ready again afterwards; of several wishes for later the earliest counts; an
    event on a key that has failed waits for the first pause, so that a reconciler that fails after it has written
    something does not chase its own writes.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._ready: dict[Key, float] = {}
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._pushed = 0
        self._working: dict[Key, float] = {}
        self._dirty: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._doomed: set[Key] = set()

    def __len__(self) -> int:
        """Return how many keys are ready."""
        return len(self._ready)

    def __contains__(self, key: Key) -> bool:
        """Say whether a key is ready, due later or being worked on."""
        return key in self._ready or key in self._due or key in self._working

    @property
    def working(self) -> int:
        """Return how many keys are being worked on."""
        return len(self._working)

    def add(self, key: Key, now: float) -> None:
        """Something happened to a key: work on it as soon as possible."""
        self._doomed.discard(key)
        if key in self._working:
            self._dirty.setdefault(key, now)
        elif self._failures.get(key):
            self.add_at(key, now + FIRST_PAUSE)
        elif key not in self._ready:
            self._due.pop(key, None)
            self._ready[key] = now

    def add_at(self, key: Key, when: float) -> None:
        """Work on a key at a time, or earlier if that was wished before."""
        if key in self._ready or key in self._working:
            return
        known = self._due.get(key)
        if known is None or when < known:
            self._due[key] = when
            self._pushed += 1
            heapq.heappush(self._heap, (when, self._pushed, key))
            self._tidy()

    def take(self, now: float) -> Key | None:
        """Return the key that has been ready for longest and count it as being worked on."""
        self._promote(now)
        for key in self._ready:
            del self._ready[key]
            self._working[key] = now
            return key
        return None

    def done(self, key: Key, now: float, again: float | None) -> None:
        """Work on a key is finished. Args: `again` is when it wants to be worked on next, if at all."""
        self._failures.pop(key, None)
        self._release(key, again)

    def failed(self, key: Key, now: float, after: float | None = None) -> float:
        """Work on a key failed. Args: `after` is the pause that was asked for. Returns: the pause in seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 30)) * (0.5 + self._random() / 2)
        pause = max(pause, after or 0.0)
        if key in self._dirty:
            pause = min(pause, max(FIRST_PAUSE, after or 0.0))
            del self._dirty[key]
        self._release(key, now + pause)
        return pause

    def forget(self, key: Key) -> None:
        """Drop a key whose object is gone; work that is going on is not disturbed, its wishes are not heard."""
        if key in self._working:
            self._doomed.add(key)
        self._ready.pop(key, None)
        self._due.pop(key, None)
        self._dirty.pop(key, None)
        self._failures.pop(key, None)

    def next_due(self) -> float | None:
        """Return when the next key becomes ready by itself."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def oldest_age(self, now: float) -> float:
        """Return for how many seconds the oldest ready key has waited."""
        return max(0.0, now - next(iter(self._ready.values()))) if self._ready else 0.0

    def longest_work(self, now: float) -> float:
        """Return for how many seconds the oldest work has been going on."""
        return max((now - started for started in self._working.values()), default=0.0)

    def _release(self, key: Key, again: float | None) -> None:
        del self._working[key]
        since = self._dirty.pop(key, None)
        if key in self._doomed:
            self._doomed.discard(key)
            self._failures.pop(key, None)
        elif since is not None:
            self._ready[key] = since
        elif again is not None:
            self.add_at(key, again)

    def _promote(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            self._ready[key] = due

    def _tidy(self) -> None:
        """Drop superseded entries once they outnumber the living ones."""
        if len(self._heap) > 64 + 2 * len(self._due):
            alive = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(alive)
            self._heap = alive

"""The work queue: never two workers on a key, errors with back-off, wishes for later, and a slow look at everything."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, Literal, TypeVar

from distillery.controller.schedule import Schedule
from distillery.errors import DistilleryError, TransientError
from distillery.kube.errors import Stale, Unavailable

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
Outcome = Literal["done", "later", "error", "bug"]
"""Of one piece of work: finished, to be repeated, a known error, an unknown one."""

WORKERS = 8
RESYNC_SECONDS = 3600.0
"""A key that wishes for nothing is looked at again after about this long, in case an event was lost."""
LONGEST_WORK = 300.0
"""One piece of work is cut off after so many seconds; it is repeated like any other that failed."""
IDLE_SECONDS = 10.0


class WorkQueue(Generic[Key]):
    """Calls `handle(key)` for the keys that are added. It returns after how many seconds it wants to be called again.

    All methods are for one event loop. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        handle: Callable[[Key], Awaitable[float | None]],
        *,
        workers: int = WORKERS,
        resync: float = RESYNC_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        on_done: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._resync = resync
        self._on_done = on_done
        self._slots = asyncio.Semaphore(workers)
        self._changed = asyncio.Event()
        self._closing = False
        self._schedule: Schedule[Key] = Schedule(random.random)
        self._looked_at = clock()

    def add(self, key: Key) -> None:
        """Something happened to a key."""
        self._schedule.add(key, self._clock())
        self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on a key after a while, unless it is worked on before."""
        self._schedule.add_at(key, self._clock() + seconds)
        self._changed.set()

    def ensure(self, keys: Iterable[Key]) -> None:
        """Add the keys that the queue does not know: those whose events were lost."""
        for key in keys:
            if key not in self._schedule:
                self.add(key)

    def forget(self, key: Key) -> None:
        """Drop a key whose object is gone."""
        self._schedule.forget(key)

    def depth(self) -> int:
        """Return how many keys wait for a worker."""
        return len(self._schedule)

    def oldest_age(self) -> float:
        """Return for how many seconds the first of them has waited."""
        return self._schedule.oldest_age(self._clock())

    def idle(self) -> float:
        """Return for how many seconds the queue has not looked for work: it does so often, unless it hangs."""
        return self._clock() - self._looked_at

    def longest_work(self) -> float:
        """Return for how many seconds the longest running piece of work has been going on."""
        return self._schedule.longest_work(self._clock())

    def close(self) -> None:
        """Begin nothing new; `run` returns when what is being worked on has ended."""
        self._closing = True
        self._changed.set()

    async def run(self) -> None:
        """Work until closed."""
        async with asyncio.TaskGroup() as group:
            while not self._closing:
                await self._slots.acquire()
                key = await self._next()
                if key is None:
                    self._slots.release()
                else:
                    group.create_task(self._work(key))

    async def _next(self) -> Key | None:
        """Wait for a key; None when the queue is being closed."""
        while not self._closing:
            self._looked_at = now = self._clock()
            key = self._schedule.take(now)
            if key is not None:
                return key
            self._changed.clear()
            due = self._schedule.next_due()
            pause = IDLE_SECONDS if due is None else min(IDLE_SECONDS, max(0.0, due - now))
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    async def _work(self, key: Key) -> None:
        outcome: Outcome = "bug"
        try:
            async with asyncio.timeout(LONGEST_WORK):
                wish = await self._handle(key)
            outcome = "done" if wish is None else "later"
            pause = self._slow() if wish is None else max(0.0, wish)
            now = self._clock()
            self._schedule.done(key, now, now + pause)
        except TransientError as error:
            outcome = "error"
            after = error.retry_after if isinstance(error, Unavailable) else None
            self._failed(key, error, after)
        except (DistilleryError, TimeoutError) as error:
            outcome = "error"
            self._failed(key, error, None)
        except Exception as error:  # noqa: BLE001  the border of one job: a bug in one must not stop the others
            self._failed(key, error, None, bug=True)
        finally:
            self._slots.release()
            self._changed.set()
            if self._on_done is not None:
                self._on_done(outcome)

    def _failed(self, key: Key, error: Exception, after: float | None, bug: bool = False) -> None:
        pause = self._schedule.failed(key, self._clock(), after)
        level = logging.ERROR if bug else logging.INFO if isinstance(error, Stale) else logging.WARNING
        said = str(error) or type(error).__name__
        log.log(level, "%s; again in %.1f s", said, pause, exc_info=error if bug else None)

    def _slow(self) -> float:
        return self._resync * random.uniform(0.75, 1.25)

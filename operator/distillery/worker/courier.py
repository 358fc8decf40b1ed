"""Carries reports to the cluster from a thread of its own, and the operator's wish to stop back.

The stage never waits for the API server: it leaves its newest report here and goes on. The courier writes changes of
state at once, progress now and then, and at every heartbeat the last report again, for as long as the stage runs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass

from distillery.errors import DistilleryError
from distillery.kube.errors import Unavailable
from distillery.stages.report import Progress, Report
from distillery.worker.mailbox import Claim, ConfigMaps, Mailbox, Superseded

log = logging.getLogger(__name__)

LAST_SECONDS = 5.0
"""For closing connections when nothing more can be delivered."""
Connect = Callable[[], AbstractAsyncContextManager[ConfigMaps]]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds. `progress` lies between two reports that differ in progress only; failed calls are repeated after
    `shortest` to `longest`; `patience` is how long a first or final report is tried.
    """

    heartbeat: float
    progress: float
    shortest: float
    longest: float
    patience: float

    @classmethod
    def of(cls, heartbeat: float) -> Rhythm:
        """Return what goes with a heartbeat; 10 s: progress every 5 s, repeats after 1 to 30 s, 10 min patience."""
        return cls(heartbeat, heartbeat / 2, heartbeat / 10, heartbeat * 3, heartbeat * 60)


class Courier:
    """Owns the connection to the API server and the latest report.

    `on_superseded` is called in the courier's thread as soon as a later process turns out to have taken over.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        connect: Connect,
        rhythm: Rhythm,
        now: Callable[[], float],
        on_superseded: Callable[[], None],
    ) -> None:
        self._mailbox = mailbox
        self._connect = connect
        self._rhythm = rhythm
        self._now = now
        self._on_superseded = on_superseded
        self.stop_wanted = False
        """The operator's record says stop."""
        self._claimed: Future[Claim] = Future()
        self._latest: Report | None = None
        self._written: Report | None = None
        self._closing = False
        self._hurry = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._main, name="courier", daemon=True)
        self._wrote_at = self._beat_at = time.monotonic()
        self._pause = 0.0
        self._random = random.Random()

    def start(self, first: Report) -> Claim:
        """Claim the attempt for this process and wait until that is done.

        Raises: TimeoutError if the API server did not allow it for as long as patience lasts.
        """
        self._latest = first
        self._thread.start()
        try:
            return self._claimed.result(self._rhythm.patience)
        except TimeoutError:
            self._abandon()
            raise

    def send(self, report: Report) -> None:
        """Leave a report; it replaces one that was not written yet. Never waits."""
        self._latest = report
        self.nudge()

    def flush(self) -> None:
        """Write what there is soon, without waiting for it. Safe in a signal handler."""
        self._hurry = True
        self.nudge()

    def nudge(self) -> None:
        """Make the courier look at once."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def close(self) -> bool:
        """Wait until the last report is written, as long as patience lasts, and say whether it is."""
        self._closing = True
        self.nudge()
        self._thread.join(self._rhythm.patience)
        if self._thread.is_alive():
            self._abandon()
            return False
        return self._written is self._latest

    def _abandon(self) -> None:
        """End the thread, so that it does not stumble about in a process that ends."""
        if self._loop is not None and self._task is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(LAST_SECONDS)

    def _main(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        while True:
            try:
                async with self._connect() as kube:
                    await self._serve(kube)
                    return
            except Superseded as error:
                log.error("%s: this process ends", error)
                self._on_superseded()
                return
            except (DistilleryError, OSError) as error:
                if self._pause == 0.0:
                    log.warning("reports cannot be written at present: %s", error)
                await self._back_off(error)
            except Exception as error:  # the border: even with a bug here the stage goes on and is reported
                log.exception("reports cannot be written at present")
                await self._back_off(error)

    async def _back_off(self, error: Exception) -> None:
        """Wait before the connection is made anew: an old one may be half dead."""
        self._pause = min(self._rhythm.longest, max(self._rhythm.shortest, self._pause * 2))
        asked = error.retry_after if isinstance(error, Unavailable) else None
        await asyncio.sleep(
            min(self._rhythm.longest, max(asked or 0.0, self._pause * self._random.uniform(0.5, 1.0)))
        )

    async def _serve(self, kube: ConfigMaps) -> None:
        """Carry reports until everything is written after `close`. Raises: whatever a call raises."""
        if not self._claimed.done():
            first = self._latest
            assert first is not None
            claim = await self._mailbox.claim(kube, first)
            self._noted(first)
            self._claimed.set_result(claim)
            if claim.ended is not None:
                self._written = self._latest
                return
        while True:
            await self._carry(kube)
            if self._closing and self._written is self._latest:
                return
            await self._sleep()

    async def _carry(self, kube: ConfigMaps) -> None:
        """Do what is due now."""
        beat = time.monotonic() >= self._beat_at + self._rhythm.heartbeat
        if beat or time.monotonic() >= self._due():
            self._hurry = False  # before looking at what there is: a later wish to hurry is not lost
            report = self._latest
            assert report is not None
            await self._mailbox.write(kube, report.model_copy(update={"at": self._now()}))
            self._noted(report)
        if beat:
            self._beat_at = time.monotonic()
            self.stop_wanted = await self._mailbox.stop_wanted(kube) or self.stop_wanted

    def _noted(self, report: Report) -> None:
        if self._pause:
            log.info("reports can be written again")
        self._pause = 0.0
        self._written, self._wrote_at = report, time.monotonic()

    def _due(self) -> float:
        """Return when the latest report is to be written, by the monotonic clock; infinite if it has been."""
        latest, written = self._latest, self._written
        if latest is written:
            return float("inf")
        late = self._hurry or self._closing or self._pause > 0.0
        if late or latest is None or written is None or _changed(latest, written):
            return 0.0
        return self._wrote_at + self._rhythm.progress

    async def _sleep(self) -> None:
        """Wait for the next thing to do, or for a nudge."""
        until = min(self._due(), self._beat_at + self._rhythm.heartbeat)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(0.0, until - time.monotonic()))
        self._wake.clear()


def _changed(latest: Report, written: Report) -> bool:
    """Say whether two reports differ in more than progress."""
    same = {"progress": Progress(), "sequence": 0, "at": 0.0}
    return latest.model_copy(update=same) != written.model_copy(update=same)

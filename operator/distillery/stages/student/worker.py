"""The training function that Ray Train runs: fetches its work from the desk and reports there."""

from __future__ import annotations

import time
from typing import Any

import ray

from distillery.errors import DistilleryError
from distillery.stages import report
from distillery.stages.student.training import Hooks
from distillery.stages.student.work import Work, train

INTERVAL = 0.3
"""Seconds between words with the desk: a stop is seen within this time."""


class DeskHooks:
    """Hooks of the training loop that talk to a desk without ever waiting for it."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk
        self._sent_at = 0.0
        self._reply: Any = None
        self._stop = False

    def progress(self, progress: report.Progress) -> None:
        """Send progress, unless some was sent a moment ago or is still under way."""
        if self._reply is None and time.monotonic() - self._sent_at >= INTERVAL:
            self._sent_at = time.monotonic()
            self._reply = self._desk.tell.remote(progress)

    def stop_requested(self) -> bool:
        """Return the desk's latest word."""
        if self._reply is not None and ray.wait([self._reply], timeout=0)[0]:
            self._stop = self._stop or ray.get(self._reply)
            self._reply = None
        return self._stop


def train_loop(config: dict[str, Any]) -> None:
    """Run the training of `config["desk"]`.

    Errors of ours go to the desk, so that the driver raises them as they are; anything else is a bug and
    reaches it wrapped by Ray.
    """
    desk = config["desk"]
    work = ray.get(desk.take.remote())
    assert isinstance(work, Work)
    talk = DeskHooks(desk)
    error: DistilleryError | None = None
    try:
        train(work, Hooks(talk.progress, talk.stop_requested), desk.warn.remote)
    except DistilleryError as raised:
        error = raised
    ray.get(desk.close.remote(error))

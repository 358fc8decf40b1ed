"""The training function that Ray Train runs: fetches its work from the desk and reports there."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.train.torch import get_device

from distillery.errors import DistilleryError, StageStopped
from distillery.stages import report
from distillery.stages.student.team import Team
from distillery.stages.student.training import Hooks
from distillery.stages.student.work import Work, train

INTERVAL = 0.3
"""Seconds between words with the desk: a stop is seen within this time."""


class DeskHooks:
    """Hooks of the training loop that talk to a desk without ever waiting for it."""

    def __init__(self, desk: Any, leads: bool) -> None:
        """Only who leads talks."""
        self._desk = desk
        self._leads = leads
        self._sent_at = 0.0
        self._reply: Any = None
        self._stop = False

    def progress(self, progress: report.Progress) -> None:
        """Send progress, unless some was sent a moment ago or is still under way."""
        if self._leads and self._reply is None and time.monotonic() - self._sent_at >= INTERVAL:
            self._sent_at = time.monotonic()
            self._reply = self._desk.tell.remote(progress)

    def stop_requested(self) -> bool:
        """Return the desk's latest word."""
        if self._reply is not None and ray.wait([self._reply], timeout=0)[0]:
            self._stop = self._stop or ray.get(self._reply)
            self._reply = None
        return self._stop


def train_loop(config: dict[str, Any]) -> None:
    """Run the training of `config["desk"]` as one of a team; with `config["pods"]` on a disk of its own.

    Errors of ours go to the desk, so that the driver raises them as they are; anything else is a bug and reaches it
    wrapped by Ray. An error that not all processes share must also end this function with it: only then does Ray
    Train free the others, who wait for this process in a collective.
    """
    desk = config["desk"]
    work = ray.get(desk.take.remote())
    assert isinstance(work, Work)
    team = Team.join(get_device())
    with ExitStack() as stack:
        if config["pods"]:
            folder = stack.enter_context(TemporaryDirectory(prefix="distillery-student-"))
            work = replace(work, scratch=Path(folder))
        _train(work, desk, team)


def _train(work: Work, desk: Any, team: Team) -> None:
    talk = DeskHooks(desk, team.leads)
    warn = desk.warn.remote if team.leads else _ignore
    try:
        train(work, Hooks(talk.progress, talk.stop_requested), warn, team)
    except StageStopped as stopped:
        # All stop at the same step; the leader has a checkpoint to write first, so it alone has the last word.
        if team.leads:
            ray.get(desk.close.remote(stopped))
    except DistilleryError as error:
        ray.get(desk.close.remote(error))
        if team.size > 1:
            raise
    else:
        if team.leads:
            ray.get(desk.close.remote(None))


def _ignore(_: str) -> None:
    return

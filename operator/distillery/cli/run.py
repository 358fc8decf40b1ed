"""The `run` verb: one local run with signals, logs and a view."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from distillery.api.v1alpha1.status import Status
from distillery.cli.exit_codes import OF_ENDING, ExitCode
from distillery.cli.invocation import Invocation
from distillery.cli.places import LocalPlace
from distillery.cli.views import View, view_for
from distillery.errors import Problem, SpecError
from distillery.runner.local import LocalRun
from distillery.runner.secrets import HidingFilter, LocalSecrets
from distillery.runner.workdir import Workdir
from distillery.stages.report import Report
from distillery.stages.stage import STAGE_NAMES, StageName
from distillery.streams import silence

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = b"\x1b[?25h"
"""The live view hides it; an end at once leaves no time to stop the view."""


def run_job(invocation: Invocation, until: str | None) -> ExitCode:
    """Run a job to its end and return the exit status.

    Raises: SpecError before anything has started; OSError if what is shown can no longer be written.
    """
    last = _stage(until)
    lost: list[OSError] = []
    workdir = Workdir(invocation.folder)
    with workdir.locked(), _logging(workdir.folder / "logs" / "run.log", invocation.secrets):
        view = view_for(invocation.output, LocalPlace(invocation.folder), sys.stdout)

        def watch(status: Status, report: Report | None) -> None:
            try:
                view.update(status, report)
            except (
                OSError
            ) as error:  # a full disk, or `| head -1`: end like an interrupted run, not like a failed stage
                lost.append(error)
                silence()
                run.stop = True

        run = LocalRun(invocation.job, workdir, invocation.secrets, watch, until=last)
        with view, _signals(run, view):
            finished = run.run()
            _close_ray()
    if lost and not isinstance(lost[0], BrokenPipeError):
        raise lost[0]
    code = OF_ENDING[finished.ending]
    view.finish(finished.status, finished.message, code)
    return code


def _stage(name: str | None) -> StageName | None:
    for known in STAGE_NAMES:
        if name == known:
            return known
    if name is None:
        return None
    raise SpecError(Problem("--until", f"{name!r} is no stage", f"use one of {', '.join(STAGE_NAMES)}"))


@contextmanager
def _signals(run: LocalRun, view: View) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into a stop request, the second into an end at once.

    A signal that is ignored from the start stays so: a shell starts `distillery run … &` without SIGINT, so that Ctrl-C
    for another command spares it.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        if run.stop:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), SHOW_CURSOR)
            os._exit(ExitCode.INTERRUPTED)
        run.stop = True
        with suppress(RuntimeError, OSError):  # the signal may have come in the middle of a print
            view.stopping("stopping at the next safe point; once more to end at once (nothing paid is lost)")

    heeded = [name for name in STOP_SIGNALS if signal.getsignal(name) != signal.SIG_IGN]
    before = {name: signal.signal(name, handle) for name in heeded}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def _logging(path: Path, secrets: LocalSecrets) -> Iterator[None]:
    """Send the log of this run to a file, secret values hidden."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.addFilter(HidingFilter(secrets))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def _close_ray() -> None:
    """Shut Ray down if a stage has started it; never import it for that."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()

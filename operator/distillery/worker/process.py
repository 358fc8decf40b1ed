"""The life of one worker process: claim the attempt, run the stage, deliver the last report, exit.

The exit status tells `kubectl get rayjob` how it went; the operator believes the report alone.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import assert_never

from distillery.artifacts import layout
from distillery.artifacts.opening import open_store, source_opener
from distillery.errors import DistilleryError, StageStopped
from distillery.kube.client import Kube
from distillery.querying import read_ledger
from distillery.settings import Settings
from distillery.stages.assignment import UNUSABLE_STATUS, Assignment
from distillery.stages.execution import Workplace, classify, execute
from distillery.stages.pinning import pin_once
from distillery.stages.report import Failure, Report
from distillery.stages.reporting import without_secrets
from distillery.streams import flush_output
from distillery.worker.courier import Connect, Courier, Rhythm
from distillery.worker.logs import KeptLog
from distillery.worker.mailbox import Mailbox
from distillery.worker.secrets import PodSecrets

log = logging.getLogger(__name__)


KEEP_LOG_SECONDS = 10.0


class Exit(IntEnum):
    """Exit status of a worker."""

    ENDED = 0
    """Succeeded, or stopped as asked."""
    FAILED = 1
    UNUSABLE = UNUSABLE_STATUS
    """There is no assignment, or this release cannot read it. The operator knows this one."""
    SUPERSEDED = 3
    """A later process has taken over; this one left without a word."""
    UNREPORTED = 4
    """The first or the last report could not be delivered."""


class Attempt:
    """One process of one attempt. Call `run` in the main thread: it handles SIGTERM, and so does Ray."""

    def __init__(
        self,
        assignment: Assignment,
        settings: Settings,
        secrets: PodSecrets,
        log_so_far: KeptLog,
        connect: Connect = Kube.connect,
    ) -> None:
        self._assignment = assignment
        self._settings = settings
        self._secrets = secrets
        self._log = log_so_far
        self._terminated = False
        rhythm = Rhythm.of(assignment.heartbeat_seconds)
        self._courier = Courier(Mailbox(assignment), connect, rhythm, time.time, leave_at_once)

    def run(self) -> Exit:
        """Run the attempt to its end and tell the operator."""
        return self._live(self._work)

    def refuse(self, failure: Failure) -> Exit:
        """Tell the operator that this worker cannot do what is asked, and do nothing of it."""
        self._live(lambda first: self._failed(first, failure))
        return Exit.UNUSABLE

    def _failed(self, first: Report, failure: Failure) -> Report:
        last = first.model_copy(update={"state": "failed", "failure": failure})
        self._report(last)
        return last

    def _live(self, work: Callable[[Report], Report]) -> Exit:
        run, attempt = self._assignment.run, self._assignment.attempt
        first = Report(stage=run.stage, recipe=run.recipe, attempt=attempt, at=time.time())
        self._handle_sigterm()
        try:
            claim = self._courier.start(first)
        except TimeoutError:
            log.error("the API server did not let this process report its start: giving up")
            return Exit.UNREPORTED
        if claim.ended is not None:
            log.error("this attempt has ended already: %s", claim.ended.state)
            return _exit_of(claim.ended)
        log.info("process %d of this attempt begins", claim.incarnation)
        last = work(first)
        log.info("the stage has ended: %s", last.failure.message if last.failure else last.state)
        delivered = self._courier.close()
        if not delivered:
            log.error("the last report could not be delivered: giving up")
        self._keep_log()
        return _exit_of(last) if delivered else Exit.UNREPORTED

    def _work(self, first: Report) -> Report:
        """Run the stage. Never raises."""
        try:
            workplace = self._workplace()
            return execute(self._assignment.run, self._assignment.attempt, workplace, self._report)
        except (SystemExit, StageStopped):  # Ray, where a stage starts it, answers SIGTERM in this way
            last = first.model_copy(update={"state": "stopped"})
        except Exception as error:  # the border: what fails before a stage begins is reported like the rest
            log.exception("the stage could not begin")
            return self._failed(first, classify(error))
        self._report(last)
        return last

    def _workplace(self) -> Workplace:
        """Open the store, and connect to the Ray cluster if it has workers. Raises: SpecError; whatever Ray raises."""
        assignment, secrets = self._assignment, self._secrets
        store = open_store(assignment.storage, secrets)
        open_source = source_opener(assignment.storage, secrets)
        folder = self._settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        if assignment.workers:
            self._connect_ray()

        def ledger() -> tuple[int, int]:
            totals = read_ledger(store, assignment.run.job_uid)
            return totals.spent_micro, totals.unknown_micro

        return Workplace(
            store=store,
            secrets=secrets,
            folder=folder,
            now=time.time,
            stop_requested=lambda: self._terminated or self._courier.stop_wanted,
            open_source=open_source,
            pin_sources=lambda run: pin_once(run, open_source, store),
            ledger=ledger,
            workers=assignment.workers,
        )

    def _keep_log(self) -> None:
        """Leave the log in the store. It matters less than the next attempt, so nothing waits long for it."""
        run, attempt = self._assignment.run, self._assignment.attempt
        key = layout.attempt_log(run.job_uid, run.stage, attempt)

        def keep() -> None:
            try:
                open_store(self._assignment.storage, self._secrets).put(key, self._log.content())
            except DistilleryError as error:
                log.warning("this log is not kept in the store: %s", error)

        keeper = threading.Thread(target=keep, daemon=True)
        keeper.start()
        keeper.join(KEEP_LOG_SECONDS)

    def _report(self, report: Report) -> None:
        self._courier.send(without_secrets(report, self._secrets.hide))

    def _connect_ray(self) -> None:
        """Connect to the cluster whose head this is. Lazily: a stage without workers does not even import Ray."""
        import ray

        ray.init(address="auto", logging_level=logging.WARNING)
        self._handle_sigterm()  # Ray has put its own in its place

    def _handle_sigterm(self) -> None:
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        """Stop at the next safe point. Ray kills three seconds later, so what is known is written now."""
        self._terminated = True
        self._courier.flush()


def leave_at_once(exit_process: Callable[[int], None] = os._exit) -> None:
    """End this process without another word, from whatever thread.

    A later process works on the attempt. The stage may be deep in a call that no exception reaches; everything that
    it leaves behind is made for sudden ends: artifacts appear with their manifest, answers and ledger are journalled.
    """
    logging.shutdown()
    flush_output()
    exit_process(Exit.SUPERSEDED)


def _exit_of(report: Report) -> Exit:
    match report.state:
        case "succeeded" | "stopped":
            return Exit.ENDED
        case "failed":
            return Exit.FAILED
        case "running":
            raise AssertionError("a running report is not the last")
        case _:
            assert_never(report.state)

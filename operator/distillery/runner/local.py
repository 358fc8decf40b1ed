"""The local run: observe, decide, run the stage in this process, until the job is finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, assert_never

from distillery.api.dumping import dump_yaml
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.status import Status
from distillery.artifacts.artifact import Artifact, find_manifest
from distillery.artifacts.opening import open_location, open_store, source_opener
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import SpecError, StageFailed, TransientError
from distillery.planning.control import Control, control_of
from distillery.planning.decide import decide
from distillery.planning.decision import Cancel, Decision, Ending, Finish, Submit, Wait
from distillery.planning.failures import finish_for
from distillery.planning.observed import Attempt, Observed
from distillery.planning.plan import Plan, build_plan
from distillery.planning.status import status_of
from distillery.querying import read_ledger
from distillery.runner.secrets import LocalSecrets
from distillery.runner.workdir import Workdir, read_status, write_atomically
from distillery.stages.execution import Workplace, classify, execute, recipes_of
from distillery.stages.pinning import pin
from distillery.stages.report import Outcome, Report
from distillery.stages.reporting import without_secrets
from distillery.stages.reuse import walk
from distillery.stages.stage import StageName

log = logging.getLogger(__name__)

Watch = Callable[[Status, Report | None], None]

RESUME = "the same command resumes"
INTERRUPTED = Wait(Reason.INTERRUPTED.value, f"interrupted; {RESUME}")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a local run ended."""

    ending: Ending | Literal["interrupted", "waiting"]
    status: Status
    message: str


class LocalRun:
    """One invocation of `distillery run` on one workdir.

    Sources are pinned anew at every invocation, as make looks at its files: unchanged work is found in the store.
    """

    def __init__(
        self,
        job: DistillationJob,
        workdir: Workdir,
        secrets: LocalSecrets,
        watch: Watch,
        *,
        until: StageName | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._workdir = workdir
        self._secrets = secrets
        self._watch = watch
        self._now = now
        self.store = store_of(job, workdir.folder, secrets)
        self._open_source = source_opener(job.spec.storage, secrets)
        self.plan: Plan = build_plan(job, workdir.uid, self.store.uri, until=until)
        self.stop = False
        """Set it to end the run at the next safe point."""
        self._began = now()
        self._outcomes: dict[str, Outcome] = {}
        self._sources: dict[str, str] = {}
        self._ledger = (0, 0)
        self._live: Attempt | None = None
        # Whoever runs the command wants it to run: of the control requests only the approval counts here.
        self._control = Control(approved=control_of(job.metadata.annotations, False, {}, now()).approved)
        self._status = self._previous_status()

    def look(self) -> tuple[Observed, Decision]:
        """Pin the sources, find what the store already holds, and decide; changes nothing.

        Raises: SpecError, StageFailed or TransientError if sources or store cannot be read.
        """
        first = self.plan.runs[0]
        self._sources = {first.recipe: pin(first, self._open_source)}
        for outcome in walk(self.store, recipes_of(first), {}, self._sources[first.recipe]):
            self._outcomes[outcome.identity] = outcome
        self._refresh_ledger()
        observed = self._observe()
        return observed, decide(self.plan, observed, self._now())

    def run(self) -> Finished:
        """Run to the end, or until `stop` is set. Never raises for what goes wrong on the way: the ending says so."""
        try:
            observed, decision = self.look()
        except (SpecError, StageFailed, TransientError) as error:
            failure = classify(error)
            observed, decision = self._observe(), finish_for(failure, str(error))
        while True:
            self._publish(observed, decision, None)
            match decision:
                case Finish():
                    self._export_report()
                    return Finished(decision.ending, self._status, decision.message)
                case Submit():
                    if not self.stop:
                        self._attempt(decision)
                case Wait(reason=Reason.REVIEW_PENDING.value):
                    return Finished("waiting", self._status, f"{decision.message}; {RESUME}")
                case Wait():
                    self._pause(decision)
                case Cancel():
                    raise AssertionError("a local run has no attempt of another process")
                case _:
                    assert_never(decision)
            observed = self._observe()
            decision = decide(self.plan, observed, self._now())
            if self.stop and not isinstance(decision, Finish):
                self._publish(observed, INTERRUPTED, None)
                return Finished("interrupted", self._status, RESUME)

    def _attempt(self, decision: Submit) -> None:
        run = decision.run
        attempt = Attempt(run.stage, decision.attempt, run.recipe, decision.identity, self._now(), live=True)
        self._workdir.start_attempt(attempt)
        self._live = attempt
        workplace = Workplace(
            store=self.store,
            secrets=self._secrets,
            folder=self._workdir.folder,
            now=self._now,
            stop_requested=lambda: self.stop,
            open_source=self._open_source,
            pin_sources=lambda stage_run: pin(stage_run, self._open_source),
            ledger=self._refresh_ledger,
        )
        last = execute(run, decision.attempt, workplace, self._report, self._sources.get(run.recipe))
        self._live = None
        for outcome in (*([last.result] if last.result else []), *last.reusable):
            self._outcomes.setdefault(outcome.identity, outcome)

    def _report(self, report: Report) -> None:
        report = without_secrets(report, self._secrets.hide)
        self._workdir.write_report(report)
        assert self._live is not None
        self._live = replace(self._live, report=report)
        observed = self._observe()
        self._publish(observed, decide(self.plan, observed, self._now()), report)

    def _spent(self) -> int:
        """The ledger as last read, and what the running attempt says it has spent since."""
        report = self._live.report if self._live else None
        since = report.progress.spent_micro if report and report.state == "running" else None
        return self._ledger[0] + (since or 0)

    def _observe(self) -> Observed:
        recorded = self._workdir.attempts()
        live = self._live
        if live is not None:
            recorded = (*(a for a in recorded if (a.stage, a.number) != (live.stage, live.number)), live)
        return Observed(
            attempts=recorded,
            outcomes=self._outcomes,
            sources=self._sources,
            forgiven_before=self._began,
            ledger_micro=self._spent(),
            unknown_micro=self._ledger[1],
            control=self._control,
        )

    def _publish(self, observed: Observed, decision: Decision, report: Report | None) -> None:
        self._status = status_of(self.plan, observed, decision, self._status, self._now())
        write_atomically(self._workdir.status, dump_yaml(self._status.to_wire()).encode())
        self._watch(self._status, report)

    def _export_report(self) -> None:
        """Put a copy of the evaluation's report beside the status, where a person looks first."""
        outcome = next((o for o in self._outcomes.values() if o.stage == "evaluation"), None)
        if outcome is None:
            return
        try:
            manifest = find_manifest(self.store, "evaluation", outcome.identity)
            if manifest is not None:
                artifact = Artifact(self.store, manifest, self._workdir.folder / "cache")
                write_atomically(self._workdir.folder / "report.html", artifact.read("report.html"))
        except (MissingObject, StageFailed, TransientError) as error:
            log.warning("no copy of the report could be made: %s", error)

    def _pause(self, decision: Wait) -> None:
        until = decision.until if decision.until is not None else self._now()
        while not self.stop and self._now() < until:
            time.sleep(min(0.2, max(0.0, until - self._now())))

    def _refresh_ledger(self) -> tuple[int, int]:
        totals = read_ledger(self.store, self._workdir.uid)
        self._ledger = (totals.spent_micro, totals.unknown_micro)
        return self._ledger

    def _previous_status(self) -> Status:
        return read_status(self._workdir.folder) or Status()


def store_of(job: DistillationJob, folder: Path, secrets: LocalSecrets) -> ObjectStore:
    """Open the job's storage; without one, a folder in the workdir."""
    if job.spec.storage is None:
        return open_location(f"file://{(folder / 'store').absolute().as_posix()}", None, None, secrets)
    return open_store(job.spec.storage, secrets)

"""Runs one attempt of a stage where the store can be reached: identity, inputs, driver, commit, report.

The worker in a pod and the local runner both call `execute`; only the place they keep reports differs.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from distillery import __version__
from distillery.api.v1alpha1.conditions import Reason
from distillery.artifacts import layout
from distillery.artifacts.artifact import Artifact, ArtifactWriter, find_manifest
from distillery.artifacts.manifest import Manifest, ManifestFile
from distillery.artifacts.store import ObjectStore
from distillery.errors import SpecError, StageFailed, StageStopped, TransientError
from distillery.stages.assignment import attempt_key
from distillery.stages.catalog import load_driver, stage_named
from distillery.stages.context import Secrets, StageContext, StageResult
from distillery.stages.identity import stage_identity
from distillery.stages.report import Failure, Outcome, Report
from distillery.stages.reporting import Reporter, Sink
from distillery.stages.reuse import outcome_of, walk
from distillery.stages.stage import StageRecipe, StageRun

log = logging.getLogger(__name__)

ATTEMPT = "attempt"
"""Key of the provenance that names the attempt which committed an artifact."""
RECORDED_PACKAGES = ("torch", "transformers", "tokenizers", "ray", "numpy", "pyarrow", "aiohttp")


@dataclass(frozen=True, slots=True)
class Workplace:
    """What an attempt finds where it runs. `folder` is local disk; `now` gives seconds since the epoch."""

    store: ObjectStore
    secrets: Secrets
    folder: Path
    now: Callable[[], float]
    stop_requested: Callable[[], bool]
    open_source: Callable[[str, str | None, str | None], ObjectStore]
    pin_sources: Callable[[StageRun], str]
    ledger: Callable[[], tuple[int, int]]
    """Spent and unknown micro-units of the whole object."""
    report_interval: float = 0.5
    workers: int = 0
    """Worker pods of the Ray cluster that this process is connected to."""


def execute(
    run: StageRun, attempt: int, workplace: Workplace, sink: Sink, sources: str | None = None
) -> Report:
    """Run one attempt to its end and return its last report. Never raises: every failure becomes a report.

    Args:
        run: the frozen stage, with its parents.
        attempt: number of this attempt, for the ledger and the report.
        workplace: store, secrets, disk, clock.
        sink: receives every report.
        sources: digest of the sources if already pinned.
    """
    first = Report(stage=run.stage, recipe=run.recipe, attempt=attempt, at=workplace.now(), sources=sources)
    reporter = Reporter(first, sink, workplace.now, workplace.report_interval)
    try:
        return _execute(run, attempt, workplace, reporter)
    except StageStopped:
        return reporter.update(state="stopped", **_ledger(workplace))
    except Exception as error:  # the border: whatever escapes a driver becomes a classified failure
        failure = classify(error)
        if failure.reason == Reason.INTERNAL_ERROR:
            log.exception("stage %s attempt %d: unexpected error", run.stage, attempt)
        return reporter.update(state="failed", failure=failure, **_ledger(workplace))


def classify(error: Exception) -> Failure:
    """Say what an exception means for the attempt."""
    match error:
        case SpecError():
            return Failure(failure_class="user", reason=Reason.INVALID_INPUT, message=str(error))
        case StageFailed():
            return Failure(failure_class=error.failure_class, reason=error.reason, message=error.message)
        case TransientError():
            return Failure(failure_class="infrastructure", reason=Reason.TRANSIENT, message=str(error))
        case OSError() if error.errno == 28:
            message = f"the disk is full ({error.filename or 'local files'}): free some space and run again"
            return Failure(failure_class="user", reason=Reason.DISK_FULL, message=message)
        case _:
            message = f"{type(error).__name__}: {error}"
            return Failure(failure_class="infrastructure", reason=Reason.INTERNAL_ERROR, message=message)


def _ledger(workplace: Workplace) -> dict[str, int]:
    try:
        spent, unknown = workplace.ledger()
    except (TransientError, StageFailed, OSError):
        return {}  # what is being reported matters more than the sum
    return {"spent_micro": spent, "unknown_micro": unknown}


def _execute(run: StageRun, attempt: int, workplace: Workplace, reporter: Reporter) -> Report:
    if not run.consumes and reporter.report.sources is None:
        reporter.update(sources=workplace.pin_sources(run))
    sources = reporter.report.sources
    outputs: dict[str, str] = {parent.stage: parent.output_digest for parent in run.parents}
    identity = stage_identity(run.recipe, run.consumes, outputs, sources)
    if identity is None:
        raise StageFailed("ParentMissing", f"{run.stage} was started before its inputs", "infrastructure")
    reporter.update()
    manifest = find_manifest(workplace.store, run.stage, identity)
    # What an earlier process of this very attempt committed, and did not live to report, is not reused work.
    reused = manifest is not None and manifest.provenance.get(ATTEMPT) != _attempt_name(run, attempt)
    if manifest is None:
        manifest = _run_driver(run, attempt, identity, workplace, reporter)
    result = outcome_of(manifest, reused=reused)
    outputs[run.stage] = result.output_digest
    later: list[Outcome] = walk(workplace.store, run.later, outputs, sources)
    return reporter.update(state="succeeded", result=result, reusable=later, **_ledger(workplace))


def _run_driver(
    run: StageRun, attempt: int, identity: str, workplace: Workplace, reporter: Reporter
) -> Manifest:
    stage = stage_named(run.stage)
    scratch = workplace.folder / "scratch" / run.stage / identity[:16]
    scratch.mkdir(parents=True, exist_ok=True)
    writer = ArtifactWriter(workplace.store, run.stage, identity, scratch / "writers")
    context = StageContext(
        run=run,
        identity=identity,
        attempt=attempt,
        store=workplace.store,
        inputs=_open_inputs(run, workplace),
        output=writer,
        scratch=scratch,
        secrets=workplace.secrets,
        progress=reporter.progress,
        stop_requested=workplace.stop_requested,
        now=workplace.now,
        open_source=workplace.open_source,
        warn=reporter.warn,
        workers=workplace.workers,
    )
    result = load_driver(stage)(context)
    manifest = writer.commit(_manifest_builder(context, result))
    try:
        _drop_checkpoints(workplace.store, run.stage, identity)
    except (TransientError, StageFailed) as error:
        reporter.warn(f"the checkpoints of {run.stage} could not be removed ({error}); `prune` will")
    return manifest


def _drop_checkpoints(store: ObjectStore, stage: str, identity: str) -> None:
    """Remove what only an unfinished stage needs."""
    for stat in list(store.list(layout.checkpoints(stage, identity))):
        store.delete(stat.key)


def _open_inputs(run: StageRun, workplace: Workplace) -> dict[str, Artifact]:
    inputs: dict[str, Artifact] = {}
    for parent in run.parents:
        if parent.stage not in run.consumes:
            continue
        manifest = find_manifest(workplace.store, parent.stage, parent.identity)
        if manifest is None or manifest.output_digest != parent.output_digest:
            message = f"the {parent.stage} artifact {parent.identity[:12]} has disappeared from the store"
            raise StageFailed("ParentMissing", message, "infrastructure")
        inputs[parent.stage] = Artifact(workplace.store, manifest, workplace.folder / "cache")
    return inputs


def _manifest_builder(
    context: StageContext, result: StageResult
) -> Callable[[str, list[ManifestFile]], Manifest]:
    run = context.run

    def build(writer_id: str, files: list[ManifestFile]) -> Manifest:
        return Manifest(
            stage=run.stage,
            identity=context.identity,
            recipe=run.recipe,
            writer=writer_id,
            files=files,
            output_digest=result.output_digest,
            counts=dict(result.counts),
            summary=dict(result.summary),
            cost=result.cost,
            parents=[parent for parent in run.parents if parent.stage in run.consumes],
            provenance={
                **_versions(),
                "specDigest": run.spec_digest,
                ATTEMPT: _attempt_name(run, context.attempt),
                **result.provenance,
            },
            created_at=datetime.fromtimestamp(context.now(), UTC).isoformat(timespec="seconds"),
        )

    return build


def _attempt_name(run: StageRun, attempt: int) -> str:
    return f"{run.job_uid}/{attempt_key(run.stage, attempt)}"


def _versions() -> dict[str, str]:
    versions = {"distillery": __version__, "python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def recipes_of(run: StageRun) -> list[StageRecipe]:
    """Return the recipes from this run on: its own first."""
    return [StageRecipe(stage=run.stage, recipe=run.recipe, consumes=run.consumes), *run.later]

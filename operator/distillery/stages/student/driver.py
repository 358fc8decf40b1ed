"""Driver of the student stage: Ray Train runs the training, its finished checkpoint becomes the artifact."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import ray

from distillery.artifacts.store import ObjectStore
from distillery.errors import StageFailed
from distillery.modeling.base import check_base
from distillery.modeling.threads import SMALL_MODEL
from distillery.stages.context import StageContext, StageResult
from distillery.stages.student.checkpoints import Checkpoint, Checkpoints
from distillery.stages.student.fitting import fit_in_process, fit_in_workers
from distillery.stages.student.result import SUMMARY, counts_of, output_digest, summary_of
from distillery.stages.student.spec import StudentParams
from distillery.stages.student.work import Work

IN_PROCESS_PARAMETERS = SMALL_MODEL
"""A new student below this size is trained in the driver's process unless Ray is running already: starting Ray and
Ray Train's own actors takes a dozen processes and often longer than the training."""


def run(context: StageContext) -> StageResult:
    """Train the student of a StageRun.

    Raises: SpecError for a base or labels that cannot be used; StageFailed (Diverged, NoSoftLabels,
    RowsTooLong, NoTrainingRows, TrainWorkerLost, GPUsMissing); StageStopped; TransientError.
    """
    params = StudentParams.model_validate(context.run.params)
    checkpoints = Checkpoints(context.store, context.identity, context.scratch / "checkpoints", context.warn)
    finished = checkpoints.newest(finished=True)
    if finished is None:
        _train(context, params)
        finished = checkpoints.newest(finished=True)
    if finished is None:
        message = "the training ended without a result in the store: run again, it continues"
        raise StageFailed("ResultMissing", message, "infrastructure")
    return _publish(context, params, finished)


def _train(context: StageContext, params: StudentParams) -> None:
    base = params.student.base
    if base.hub is not None and base.revision is None:
        context.warn(
            f"student.base.hub {base.hub} has no revision: a change on the hub will not be noticed; "
            "name the commit that you want"
        )
    work = Work(
        params=params,
        identity=context.identity,
        store=context.store,
        kept=context.inputs["filter"].manifest,
        base_store=None if base.uri is None else context.open_source(base.uri, None, None),
        scratch=context.scratch.absolute() / "worker",
    )
    if context.workers or ray.is_initialized() or not _small(work):
        fit_in_workers(context, work)
    else:
        fit_in_process(context, work)


def _small(work: Work) -> bool:
    base = work.params.student.base
    if base.architecture is None:
        return False

    def open_nothing(uri: str) -> ObjectStore:
        raise AssertionError(uri)

    return check_base(base, open_nothing, Path()).parameters < IN_PROCESS_PARAMETERS


def _publish(context: StageContext, params: StudentParams, finished: Checkpoint) -> StageResult:
    folder = context.output.folder
    for name, path in finished.local.items():
        shutil.copyfile(path, context.output.path(name))
    document = json.loads((folder / SUMMARY).read_bytes())
    for leftover in ("checkpoints", "worker"):
        shutil.rmtree(context.scratch / leftover, ignore_errors=True)
    return StageResult(
        output_digest=output_digest(folder),
        counts=counts_of(document),
        summary=summary_of(document),
        provenance={"seed": params.student.seed, **document.get("trainedOn", {})},
    )

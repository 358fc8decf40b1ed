"""Driver of the student stage: Ray Train runs the training, its finished checkpoint becomes the artifact."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import uuid
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from distillery.errors import StageFailed
from distillery.stages.context import StageContext, StageResult
from distillery.stages.report import Progress
from distillery.stages.student.checkpoints import Checkpoint, Checkpoints
from distillery.stages.student.cluster import ensure_ray
from distillery.stages.student.desk import News, open_desk
from distillery.stages.student.result import SUMMARY, counts_of, output_digest, summary_of
from distillery.stages.student.spec import StudentParams
from distillery.stages.student.work import Work
from distillery.stages.student.worker import train_loop

POLL_SECONDS = 0.25
LEAVE_SECONDS = 30.0
"""How long Ray Train may take to put its workers away once the result is there."""


def run(context: StageContext) -> StageResult:
    """Train the student of a StageRun.

    Raises: SpecError for a base or labels that cannot be used; StageFailed (Diverged, NoSoftLabels,
    RowsTooLong, NoTrainingRows, TrainWorkerLost); StageStopped; TransientError.
    """
    params = StudentParams.model_validate(context.run.params)
    checkpoints = Checkpoints(context.store, context.identity, context.scratch / "checkpoints", context.warn)
    finished = checkpoints.newest(finished=True)
    if finished is None:
        train_with_ray(context, params)
        finished = checkpoints.newest(finished=True)
    if finished is None:
        raise _lost("the training ended without a result")
    return _publish(context, params, finished)


def train_with_ray(context: StageContext, params: StudentParams) -> None:
    """Run the training in a Ray Train worker until it has finished, failed or stopped."""
    context.progress(Progress(unit="steps", message="starting Ray"))
    ensure_ray()
    base = params.student.base
    work = Work(
        params=params,
        identity=context.identity,
        store=context.store,
        kept=context.inputs["filter"].manifest,
        base_store=None if base.uri is None else context.open_source(base.uri, None, None),
        scratch=context.scratch.absolute() / "worker",
    )
    desk = open_desk()
    ray.get(desk.bring.remote(work))
    # Ray Train keeps notes of its own, which we do not need: it silently resumes a run whose name it has seen,
    # hence a new name for every fit.
    folder = tempfile.mkdtemp(prefix="distillery-ray-train-")
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"desk": desk},
        scaling_config=ScalingConfig(num_workers=1, use_gpu=False),
        run_config=RunConfig(
            name=f"student-{context.identity[:12]}-{context.attempt}-{uuid.uuid4().hex[:8]}",
            storage_path=folder,
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    try:
        _Fit(trainer).follow(context, desk)
    finally:
        ray.kill(desk)
        shutil.rmtree(folder, ignore_errors=True)


class _Fit:
    """`trainer.fit()` in a thread of its own: the driver's thread stays free for progress and stop requests.

    Off the main thread Ray Train also leaves the handler of Ctrl-C alone, which is the runner's.
    """

    def __init__(self, trainer: TorchTrainer) -> None:
        self._trainer = trainer
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._fit, name="student-fit", daemon=True)

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except (TrainingFailedError, RayError) as error:
            self._error = error

    def follow(self, context: StageContext, desk: Any) -> None:
        """Carry news until the training has closed. Raises: what it raised, StageFailed if it was lost."""
        self._thread.start()
        while self._thread.is_alive():
            self._thread.join(POLL_SECONDS)
            news = _carry(context, desk)
            if news.done:
                self._thread.join(LEAVE_SECONDS)
                if news.error is not None:
                    raise news.error
                return
        raise _lost(str(self._error) if self._error is not None else "it ended without a word")


def _carry(context: StageContext, desk: Any) -> News:
    news: News = ray.get(desk.ask.remote(context.stop_requested()))
    for warning in news.warnings:
        context.warn(warning)
    if news.progress is not None:
        context.progress(news.progress)
    return news


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
        provenance={"seed": params.student.seed, "device": "cpu", "workers": 1},
    )


def _lost(what: str) -> StageFailed:
    reason = what.strip().splitlines()
    shown = reason[-1][:500] if reason else ""
    return StageFailed("TrainWorkerLost", f"the training process was lost: {shown}", "infrastructure")

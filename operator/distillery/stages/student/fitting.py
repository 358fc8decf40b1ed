"""Runs the training loop under Ray Train's TorchTrainer: in workers of a Ray cluster, or in this process."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import uuid
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from distillery.errors import StageFailed, StageStopped
from distillery.stages import cluster, report
from distillery.stages.context import StageContext
from distillery.stages.student.desk import News, open_desk
from distillery.stages.student.training import Hooks
from distillery.stages.student.work import Work, train
from distillery.stages.student.worker import INTERVAL, train_loop

POLL_SECONDS = 0.25
START_SECONDS = 900.0
"""Ray Train waits for its workers for ever; the stage does not."""
LEAVE_SECONDS = 30.0
"""How long Ray Train may take to put its workers away once the result is there."""


def fit_in_process(context: StageContext, work: Work) -> None:
    """Train in this process, by Ray Train's local mode (no workers); Ray itself is not started.

    Raises: whatever `train` raises.
    """
    told_at = 0.0

    def progress(news: report.Progress) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= INTERVAL:
            told_at = time.monotonic()
            context.progress(news)

    def loop() -> None:
        train(work, Hooks(progress, context.stop_requested), context.warn)

    logging.getLogger("ray.train").setLevel(logging.WARNING)  # it announces its local mode
    TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=0)).fit()


def fit_in_workers(context: StageContext, work: Work) -> None:
    """Train in one worker per worker pod; without pods in one worker of a Ray that is started on this machine.

    A worker that is lost ends the attempt: who started it decides on another one, and counts them in one place.

    Raises: what `train` raised over there; StageFailed(TrainWorkerLost) if a worker died or none came.
    """
    context.progress(report.Progress(unit="steps", message="starting Ray"))
    cluster.connect(context.workers)
    desk = open_desk()
    ray.get(desk.bring.remote(work))
    # Ray Train keeps notes of its own, which we do not need: it silently resumes a run whose name it has seen,
    # hence a new name for every fit.
    notes = tempfile.mkdtemp(prefix="distillery-ray-train-")
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"desk": desk, "pods": context.workers > 0},
        scaling_config=_scaling(context.workers),
        run_config=RunConfig(
            name=f"student-{context.identity[:12]}-{context.attempt}-{uuid.uuid4().hex[:8]}",
            storage_path=notes,
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
    try:
        _Fit(trainer).follow(context, desk)
    except RayError as error:
        raise _lost(error) from None
    finally:
        ray.kill(desk)
        shutil.rmtree(notes, ignore_errors=True)


def _scaling(workers: int) -> ScalingConfig:
    """Return one worker per pod, with a GPU if every pod has one."""
    if not workers:
        return ScalingConfig(num_workers=1, use_gpu=False)
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(resources.get("GPU", 0) >= 1 for resources in alive) >= workers
    return ScalingConfig(num_workers=workers, use_gpu=gpus, placement_strategy="STRICT_SPREAD")


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
        except Exception as error:  # noqa: BLE001 - the border of the thread: `follow` raises it
            self._error = error

    def follow(self, context: StageContext, desk: Any) -> None:
        """Carry news until the training has closed. Raises: what it raised, StageFailed if it was lost."""
        self._thread.start()
        began = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(POLL_SECONDS)
            news = _carry(context, desk)
            if not news.taken:
                if context.stop_requested():
                    raise StageStopped("stop requested")
                if time.monotonic() - began > START_SECONDS:
                    raise _lost(TimeoutError(f"no worker has started within {START_SECONDS:.0f} s"))
            if news.done:
                self._thread.join(LEAVE_SECONDS)
                if news.error is not None:
                    raise news.error
                return
        if self._error is None or isinstance(self._error, (TrainingFailedError, RayError)):
            raise _lost(self._error)
        raise self._error


def _carry(context: StageContext, desk: Any) -> News:
    """Pass news on to the context, and the stop request to the desk."""
    news: News = ray.get(desk.ask.remote(context.stop_requested()))
    for warning in news.warnings:
        context.warn(warning)
    if news.progress is not None:
        context.progress(news.progress)
    return news


def _lost(error: Exception | None) -> StageFailed:
    lines = str(error).strip().splitlines() if error is not None else []
    reason = lines[-1][:500] if lines else "it ended without a word"
    message = f"the training process was lost: {reason}: run again, it continues from its last checkpoint"
    return StageFailed("TrainWorkerLost", message, "infrastructure")

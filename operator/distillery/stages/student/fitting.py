"""Runs the training loop under Ray Train's TorchTrainer: in workers of a Ray cluster, or in this process."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from distillery.api.v1alpha1.common import gpus_of_worker
from distillery.errors import StageFailed, StageStopped
from distillery.stages import cluster, report
from distillery.stages.context import StageContext
from distillery.stages.student.desk import News, open_desk
from distillery.stages.student.spec import StudentParams
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

    Raises: what `train` raised over there; StageFailed(TrainWorkerLost) if a worker died or did not come,
    StageFailed(GPUsMissing).
    """
    context.progress(report.Progress(unit="steps", message="starting Ray"))
    cluster.connect(context.workers)
    placement = scaling(context, work.params)
    desk = open_desk()
    ray.get(desk.bring.remote(work))
    # Ray Train keeps notes of its own, which we do not need: it silently resumes a run whose name it has seen,
    # hence a new name for every fit.
    notes = tempfile.mkdtemp(prefix="distillery-ray-train-")
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"desk": desk, "pods": context.workers > 0},
        scaling_config=placement,
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


def scaling(context: StageContext, params: StudentParams) -> ScalingConfig:
    """Return one worker per pod, each with a GPU if pods have one; all pods are waited for.

    Raises: StageFailed(TrainWorkerLost) if pods do not come, StageFailed(GPUsMissing); StageStopped.
    """
    wanted = context.workers
    if not wanted:
        return ScalingConfig(num_workers=1, use_gpu=False)
    nodes = cluster.await_nodes(wanted, START_SECONDS, context.stop_requested)
    context.check_stop()
    if len(nodes) < wanted:
        late = f"{len(nodes)} of {wanted} worker pods have joined within {START_SECONDS:.0f} s"
        raise _lost(TimeoutError(late))
    use_gpu = _use_gpu(params, [node["Resources"] for node in nodes])
    return ScalingConfig(num_workers=wanted, use_gpu=use_gpu, placement_strategy="STRICT_SPREAD")


def _use_gpu(params: StudentParams, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Say whether to train on GPUs. On CPUs instead it would go on for days, so a missing one is a failure."""
    workers = params.student.workers
    equipped = sum(node.get("GPU", 0) >= 1 for node in nodes)
    if equipped == len(nodes):
        return True
    if not equipped and not (workers and gpus_of_worker(workers.resources)):
        return False
    message = f"Ray sees a GPU on {equipped} of {len(nodes)} worker pods, and all need one"
    raise StageFailed("GPUsMissing", f"{message}: see their resources and nodes", "infrastructure")


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

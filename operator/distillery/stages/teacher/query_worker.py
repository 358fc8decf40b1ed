"""A query worker: an actor in a worker pod that asks its share of the questions with an engine's own executor.

The teacher's key and the store's credentials come from the pod's environment; they pass through no call.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ray.exceptions import RayError

from distillery.api.teacher_settings import TeacherSettings
from distillery.artifacts.store import ObjectStore
from distillery.errors import DistilleryError, StageFailed
from distillery.querying import (
    AnswerRecord,
    AskProgress,
    EngineOptions,
    LocalExecutor,
    PendingRequest,
    ProgressTracker,
    Settlement,
    Tally,
    Unanswered,
    budget_of,
)
from distillery.secrets import EnvironmentSecrets
from distillery.settings import Settings
from distillery.stages.teacher.lease import Lease, LeaseGrant, LeaseRequest

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is told once. The store travels without its credentials, which it finds in the pod."""

    name: str
    settings: TeacherSettings
    store: ObjectStore
    ledger_uid: str
    stage: str
    attempt: int
    options: EngineOptions


@dataclass(frozen=True, slots=True)
class PollResult:
    """What a worker has done since it was last asked."""

    results: list[tuple[str, AnswerRecord | Unanswered]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    """Of all its rounds."""
    under_way: int = 0
    warnings: list[str] = field(default_factory=list)
    done: bool = False
    error: DistilleryError | None = None
    denial: StageFailed | None = None
    """What to end with if nobody of the pool was answered either."""


class ResultBuffer(dict[str, AnswerRecord | Unanswered]):
    """Results, and which of them nobody has fetched yet."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh: deque[tuple[str, AnswerRecord | Unanswered]] = deque()

    def __setitem__(self, key: str, result: AnswerRecord | Unanswered) -> None:
        super().__setitem__(key, result)
        self.fresh.append((key, result))


class QueryWorker:
    """The actor. Its methods return at once; a round runs in a thread of its own."""

    def __init__(self) -> None:
        self._requests: list[PendingRequest] = []
        self._results = ResultBuffer()
        self._warnings: deque[str] = deque()
        self._stop = False
        self._under_way = 0
        self._error: DistilleryError | None = None
        self._thread: threading.Thread | None = None
        self._executor: LocalExecutor
        self._secrets: EnvironmentSecrets

    def open(
        self, config: WorkerConfig, limiter: Any, recovered: Sequence[Settlement]
    ) -> str | DistilleryError:
        """Get ready, and return the writer id in journal and ledger, or what is wrong: a secret is missing."""
        try:
            self._open(config, limiter)
        except DistilleryError as error:
            return error
        self._executor.recover(recovered)
        return self._executor.writer

    def _open(self, config: WorkerConfig, limiter: Any) -> None:
        async def exchange(request: LeaseRequest) -> LeaseGrant:
            try:
                grant: LeaseGrant = await limiter.exchange.remote(request)
            except RayError as error:
                raise _limiter_lost(error) from None
            return grant

        self._secrets = secrets = EnvironmentSecrets(Settings.read())
        reference = config.settings.api_key_secret
        key = secrets.get(reference.name, reference.key) if reference else None
        options = replace(config.options, warn=self._warnings.append)
        lease = Lease(config.name, exchange, budget_of(config.settings))
        self._executor = LocalExecutor.open(
            config.settings,
            config.store,
            config.ledger_uid,
            config.stage,
            config.attempt,
            key,
            options,
            lease,
        )

    def enqueue(self, requests: list[PendingRequest]) -> None:
        """Take a part of the next round's requests."""
        self._requests += requests

    def start(self, accepted: bool) -> None:
        """Start a round; `accepted` says that the teacher has answered such questions before."""
        requests, self._requests, self._results, self._error = self._requests, [], ResultBuffer(), None
        if accepted:
            self._executor.trust()
        self._thread = threading.Thread(
            target=self._execute, args=(requests,), name="query-worker", daemon=True
        )
        self._thread.start()

    def poll(self, stop: bool) -> PollResult:
        """Return the news, and learn whether to stop."""
        self._stop = self._stop or stop
        done = (
            self._thread is None or not self._thread.is_alive()
        )  # looked at first: what follows is the last word
        tally = Tally()
        tally.merge(self._executor.tally)
        return PollResult(
            results=_drain(self._results.fresh),
            tally=tally,
            under_way=0 if done else self._under_way,
            warnings=_drain(self._warnings),
            done=done,
            error=self._error if done else None,
            denial=self._executor.denial() if done else None,
        )

    def close(self) -> None:
        """Merge what was written."""
        self._executor.close()

    def _execute(self, requests: list[PendingRequest]) -> None:
        progress = ProgressTracker(len(requests), 0, self._note_progress, lambda: self._stop)
        try:
            self._executor.execute(requests, 0, 0, progress, self._results)  # its limits are the limiter's
        except DistilleryError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - the border of the thread: the driver classifies it
            log.error("%s", self._secrets.hide(traceback.format_exc()))
            what = self._secrets.hide(f"{type(error).__name__}: {error}")
            self._error = StageFailed("InternalError", what, "infrastructure")

    def _note_progress(self, progress: AskProgress) -> None:
        self._under_way = progress.in_flight


def _drain(queue: deque[T]) -> list[T]:
    return [queue.popleft() for _ in range(len(queue))]


def _limiter_lost(error: RayError) -> StageFailed:
    what = f"the limiter of the teacher's calls was lost ({type(error).__name__})"
    message = f"{what}: run again, answers bought so far are kept"
    return StageFailed("LimiterLost", message, "infrastructure")

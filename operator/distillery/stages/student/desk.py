"""The desk between driver and training processes: a small Ray actor that hands out the work and carries news.

The stores go through its memory, not through the configuration of the trainer, which Ray logs. They hold no
credentials on their way: whoever takes the work looks them up in its own environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distillery.errors import DistilleryError
from distillery.stages import report


@dataclass(frozen=True, slots=True)
class News:
    """What the training processes have said since the driver last asked."""

    progress: report.Progress | None = None
    warnings: list[str] = field(default_factory=list)
    error: DistilleryError | None = None
    done: bool = False
    taken: int = 0
    """How many training processes have fetched the work."""


class Desk:
    """State of one training as seen by both sides. Methods run one at a time."""

    def __init__(self) -> None:
        self._work: object = None
        self._stop = False
        self._news = News()

    def bring(self, work: object) -> None:
        """Driver: leave the work here."""
        self._work = work

    def take(self) -> object:
        """Training process: fetch the work."""
        self._news = replace(self._news, taken=self._news.taken + 1)
        return self._work

    def tell(self, progress: report.Progress) -> bool:
        """Training process: report progress; returns whether to stop."""
        self._news = replace(self._news, progress=progress)
        return self._stop

    def warn(self, message: str) -> None:
        """Training process: leave a warning."""
        self._news.warnings.append(message)

    def close(self, error: DistilleryError | None) -> None:
        """Training process: the last word, None for success. Of several errors the first one stands."""
        self._news = replace(self._news, error=self._news.error or error, done=True)

    def ask(self, stop: bool) -> News:
        """Driver: collect the news and pass on whether to stop."""
        self._stop = self._stop or stop
        news, self._news = self._news, replace(self._news, progress=None, warnings=[])
        return news


def open_desk() -> Any:
    """Start a desk beside the driver and return the actor handle."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_restarts=0)(Desk).options(scheduling_strategy=here).remote()

"""The closed union of what can be decided about a job. Consume it with `match` and `assert_never`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distillery.planning.observed import Attempt
from distillery.stages.stage import StageRun

Ending = Literal["complete", "gatesFailed", "failed", "budget", "pilot", "invalid", "cancelled"]


@dataclass(frozen=True, slots=True)
class Submit:
    """Start a new attempt of a stage."""

    run: StageRun
    identity: str | None
    attempt: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until something is observed, or until the time given (seconds since the epoch)."""

    reason: str
    message: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop a live attempt: ask it to save its state, then remove it."""

    attempt: Attempt
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do for this generation."""

    ending: Ending
    reason: str
    message: str


Decision = Submit | Wait | Cancel | Finish

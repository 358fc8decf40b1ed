"""Why an object cannot be worked on, as its conditions say it."""

from __future__ import annotations

from collections.abc import Sequence

from distillery.api.v1alpha1.conditions import Reason
from distillery.errors import DistilleryError, Problem

MAX_PROBLEMS = 8
"""Mistakes that a condition's message names; the rest follows when these are repaired."""


class Refused(DistilleryError):
    """The object cannot be planned: `reason` and `message` go into its conditions.

    `stalled` is true if only an edit of the object helps.
    """

    def __init__(self, reason: Reason, message: str, stalled: bool) -> None:
        super().__init__(reason, message, stalled)
        self.reason, self.message, self.stalled = reason, message, stalled


def told(problems: Sequence[Problem]) -> str:
    """Return problems as one line of a condition."""
    lines = [str(problem) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
    return "; ".join(lines)

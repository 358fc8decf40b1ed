"""Exit statuses of `distillery run`, a contract with scripts."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from distillery.planning.decision import Ending


class ExitCode(IntEnum):
    """What the shell sees."""

    COMPLETE = 0
    FAILED = 1
    INVALID = 2
    GATES_FAILED = 3
    STOPPED = 4
    """By the budget, the pilot or a person; or the filter's review waits for one."""
    INTERRUPTED = 130


OF_ENDING: dict[Ending | Literal["interrupted", "waiting"], ExitCode] = {
    "complete": ExitCode.COMPLETE,
    "gatesFailed": ExitCode.GATES_FAILED,
    "failed": ExitCode.FAILED,
    "invalid": ExitCode.INVALID,
    "budget": ExitCode.STOPPED,
    "pilot": ExitCode.STOPPED,
    "cancelled": ExitCode.STOPPED,
    "interrupted": ExitCode.INTERRUPTED,
    "waiting": ExitCode.STOPPED,
}

"""The worker's log: JSON lines with job, stage and attempt, no secret values; and where `kubectl logs` finds them.

Ray keeps what a job prints in a file of the head pod. The same lines therefore also go to the output of the
container's first process, as far as it takes them: a log that nobody reads must never hold up a stage.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

from distillery.logs import JsonLines
from distillery.secrets import EnvironmentSecrets, HidingFilter


class ContainerLog(logging.Handler):
    """Writes lines to a pipe or file that belongs to another process; never waits, never complains."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises: OSError."""
        super().__init__()
        # Opened anew, so that only our end of the pipe does not block.
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY)
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line. What does not fit into a full pipe is lost; the next line starts at a line's beginning."""
        line = ("\n" if self._torn else "").encode() + _encoded(self.format(record))
        try:
            written = os.write(self._file, line)
        except OSError:
            return  # full, or its reader is gone
        self._torn = written < len(line)

    def close(self) -> None:
        """Close our end."""
        super().close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class KeptLog(logging.Handler):
    """Holds the last lines in memory, at most `most` bytes or one line: pods and their logs go with the attempt."""

    def __init__(self, most: int = 256 * 1024) -> None:
        super().__init__()
        self._most = most
        self._lines: deque[bytes] = deque()
        self._size = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line, and drop the oldest for it."""
        line = _encoded(self.format(record))
        self._lines.append(line)
        self._size += len(line)
        while self._size > self._most and len(self._lines) > 1:
            self._size -= len(self._lines.popleft())

    def content(self) -> bytes:
        """Return the lines."""
        with self.lock or nullcontext():
            return b"".join(self._lines)


def _encoded(line: str) -> bytes:
    """Return a line's bytes; half a character, as what others sent may hold, raises nothing here."""
    return line.encode("utf-8", "backslashreplace") + b"\n"


def configure_logging(
    secrets: EnvironmentSecrets, fields: Mapping[str, object], container_log: Path | None = None
) -> KeptLog:
    """Make standard error, and the container's log if it is another, the process's only log.

    Python's warnings are logged too.

    Returns: the last of the log, to be kept when the process ends.
    """
    kept = KeptLog()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr), kept]
    if container_log is not None and not _written_already(container_log):
        with suppress(OSError):  # the lines are in Ray's file all the same
            handlers.append(ContainerLog(container_log))
    for handler in handlers:
        handler.addFilter(HidingFilter(secrets))
        handler.setFormatter(JsonLines(fields))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.captureWarnings(True)
    return kept


def _written_already(path: Path) -> bool:
    """Tell whether this process's own output goes there."""
    try:
        there = path.stat()
        return any(os.path.samestat(there, os.fstat(own)) for own in (1, 2))
    except OSError:
        return False

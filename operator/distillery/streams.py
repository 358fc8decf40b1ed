"""A process's standard output and error: there from the start, written out before the end, no matter what is behind.

Python itself writes what is buffered only while it exits, past everything that could tell an error, and then ends with
a status of its own (120). So whoever prints calls `flush_output` while errors can still be told.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

OUT, ERR = 1, 2


def open_streams() -> None:
    """Make both streams usable: a closed one leads nowhere, and no odd character and no lost message ends a process.

    Standard error only accompanies: where it is full or its reader has gone, a message is lost, and the process goes
    on and ends as it would have ended. Streams that somebody has put in their place stay as they are.
    """
    if sys.stdout is None:
        sys.stdout = _nowhere(OUT)
    elif sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        flush_output()  # which reconfiguring would do, past everything that could tell an error
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name or symbol that the locale cannot show
    if sys.stderr is None:
        sys.stderr = _nowhere(ERR)
    elif sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        raw = io.BufferedWriter(_Accompanying(ERR, "wb", closefd=False))
        encoding = sys.stderr.encoding
        sys.stderr = io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=True)


def flush_output() -> OSError | None:
    """Write out what was printed. Returns: why that is impossible; the rest then goes nowhere."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        silence()
        return error
    return None


def silence() -> None:
    """Send the rest of standard output nowhere, so that neither a later line nor the flush at exit fails again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Accompanying(io.FileIO):
    """Takes every byte, even those that cannot be written."""

    def write(self, data: Any, /) -> int:
        """Write as much as can be written. Returns: how many bytes are done with."""
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data))


def _nowhere(number: int) -> TextIO:
    """Occupy the number of a closed stream, which the next file that is opened would get otherwise."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)
    return open(number, "w", encoding="utf-8", closefd=False)

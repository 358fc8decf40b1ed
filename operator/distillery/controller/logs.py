"""The operator's log: JSON lines on standard error, at the level that the settings name."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from distillery.logs import JsonLines

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send all logs to a stream, by default stderr. Kopf's own say little below warnings that helps anyone."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    logging.getLogger("kopf").setLevel(max(LEVELS[level], logging.INFO))
    for noisy in ("aiohttp.access", "asyncio", "kopf.objects"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

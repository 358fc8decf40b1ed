"""Log lines as JSON, one object a line, with the job, stage and attempt that they are about."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

FIELDS = ("namespace", "job", "stage", "attempt")
"""What a line may be about; `extra` of a call and `about` set them."""
MAX_MESSAGE = 4000

_about: ContextVar[dict[str, Any]] = ContextVar("about", default={})  # noqa: B039  never changed in place

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Log all lines of a block, and of the tasks that begin in it, as being about a job, stage or attempt."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line without an end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_MESSAGE],
        }
        known = {**_about.get(), **{k: v for k in FIELDS if (v := getattr(record, k, None)) is not None}}
        line.update({field: known[field] for field in FIELDS if field in known})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send all logs to a stream, by default stderr. Kopf's own say little below warnings that helps anyone."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    logging.getLogger("kopf").setLevel(max(LEVELS[level], logging.INFO))
    for noisy in ("aiohttp.access", "asyncio", "kopf.objects"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

"""Log lines as JSON, one object a line, with the job, stage and attempt that they are about."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

FIELDS = ("namespace", "job", "stage", "attempt")
"""What a line may be about; `extra` of a call, `about` and the formatter's own fields set them, the first one wins."""
MAX_MESSAGE = 4000

_about: ContextVar[dict[str, Any]] = ContextVar("about", default={})  # noqa: B039  never changed in place


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Log all lines of a block, and of the tasks that begin in it, as being about a job, stage or attempt."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; `fields` stand in every line."""

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without an end."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_MESSAGE],
        }
        extra = {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        known = {**self._fields, **_about.get(), **extra}
        line.update({name: known[name] for name in FIELDS if name in known})
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, default=str)

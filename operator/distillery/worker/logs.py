"""The worker's log: one JSON object per line on standard error, with job, stage and attempt; no secret values."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from distillery.secrets import EnvironmentSecrets, HidingFilter


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; `fields` stand in every line."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        super().__init__()
        self._fields = dict(fields)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(secrets: EnvironmentSecrets, fields: Mapping[str, object]) -> None:
    """Make this the process's only log, Python's warnings included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(HidingFilter(secrets))
    handler.setFormatter(JsonLines(fields))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)

"""Secrets of a local run: given on the command line by reference, else taken from the environment."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from distillery.errors import Problem, SpecError
from distillery.settings import Settings, secret_variable

HIDDEN = "***"


class LocalSecrets:
    """Looks values up by (Secret name, key) and remembers those it handed out, so that they can be hidden."""

    def __init__(self, settings: Settings, references: Sequence[str] = ()) -> None:
        """Parse `NAME/KEY=env:VAR` and `NAME/KEY=file:PATH` references. Raises: SpecError."""
        self._settings = settings
        self._given = dict(_parse(reference) for reference in references)
        self._handed_out: set[str] = set()

    def optional(self, name: str, key: str) -> str | None:
        """Return the value or None."""
        source = self._given.get((name, key))
        value = self._settings.secret(name, key) if source is None else self._read(source, name, key)
        if value:
            self._handed_out.add(value)
        return value or None

    def get(self, name: str, key: str) -> str:
        """Return the value. Raises: SpecError that says how to supply it."""
        value = self.optional(name, key)
        if value is None:
            raise SpecError(
                Problem(
                    f"secret {name}/{key}",
                    "is not set",
                    f"export {secret_variable(name, key)}=… or pass --secret {name}/{key}=env:VARIABLE "
                    f"or --secret {name}/{key}=file:PATH",
                )
            )
        return value

    def hide(self, text: str) -> str:
        """Replace every value handed out so far."""
        for value in sorted(self._handed_out, key=len, reverse=True):
            text = text.replace(value, HIDDEN)
        return text

    def _read(self, source: str, name: str, key: str) -> str:
        kind, _, where = source.partition(":")
        flag = f"--secret {name}/{key}"
        if kind == "env":
            value = self._settings.variable(where)
            if value is None:
                raise SpecError(
                    Problem(flag, f"the environment variable {where} is not set", "export it first")
                )
            return value
        try:
            return Path(where).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SpecError(Problem(flag, f"cannot read {where}: {reason}", "name a readable file")) from None


class HidingFilter(logging.Filter):
    """Keeps secret values out of log records, tracebacks included."""

    def __init__(self, secrets: LocalSecrets) -> None:
        super().__init__()
        self._secrets = secrets
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place and let it pass."""
        record.msg, record.args = self._secrets.hide(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = self._secrets.hide(self._formatter.formatException(record.exc_info))
            record.exc_info = None
        return True


def _parse(reference: str) -> tuple[tuple[str, str], str]:
    match = re.fullmatch(r"([^/=]+)/([^=]+)=((?:env|file):.+)", reference)
    if match is None:
        # The text may hold a value pasted by mistake: it is not repeated.
        raise SpecError(
            Problem(
                "--secret",
                "is not of the form NAME/KEY=env:VARIABLE or NAME/KEY=file:PATH",
                "values themselves are never written on the command line",
            )
        )
    return (match[1], match[2]), match[3]

"""Secret values by reference, as the environment holds them, and what keeps them out of texts.

The local run and the worker look values up in the same way; only their advice for a missing one differs.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from distillery.errors import Problem, SpecError
from distillery.settings import Settings, secret_variable

HIDDEN = "***"
SHORTEST = 4
"""Characters of the shortest value that is hidden: what is shorter occurs in every text and protects nothing."""


class EnvironmentSecrets:
    """Looks values up by (Secret name, key); hides every value that it knows, handed out or not.

    It travels without any value: where it is unpickled it reads that process's environment.
    """

    def __init__(self, settings: Settings) -> None:
        self._adopt(settings)

    def _adopt(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._hidden: tuple[str, ...] = ()
        self._hide_too(settings.secret_values())

    def __getstate__(self) -> dict[str, Any]:
        """Return how to look values up, none of them."""
        left = ("_settings", "_lock", "_hidden")
        return {name: value for name, value in vars(self).items() if name not in left}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._adopt(Settings.read())

    def optional(self, name: str, key: str) -> str | None:
        """Return the value or None. Line ends after it, which files and editors add, do not belong to it."""
        value = self._look_up(name, key)
        if value is None:
            return None
        self._hide_too([value])
        return value.rstrip("\r\n") or None

    def get(self, name: str, key: str) -> str:
        """Return the value. Raises: SpecError that says how to supply it."""
        value = self.optional(name, key)
        if value is None:
            raise SpecError(self._missing(name, key))
        return value

    def hide(self, text: str) -> str:
        """Replace every known value, also where it is quoted for JSON or a URL."""
        for form in self._hidden:
            text = text.replace(form, HIDDEN)
        return text

    def _look_up(self, name: str, key: str) -> str | None:
        return self._settings.secret(name, key)

    def _missing(self, name: str, key: str) -> Problem:
        repair = f"export {secret_variable(name, key)}=…"
        return Problem(f"secret {name}/{key}", "is not set", repair)

    def _hide_too(self, values: Iterable[str]) -> None:
        """Remember values, longest first, so that none is hidden in part because it contains another."""
        with self._lock:
            known = set(self._hidden)
            for value in values:
                for whole in (value, value.strip()):
                    known |= {whole, json.dumps(whole)[1:-1], quote(whole, safe="")}
            long_enough = (form for form in known if len(form) >= SHORTEST)
            self._hidden = tuple(sorted(long_enough, key=lambda form: (-len(form), form)))


class HidingFilter(logging.Filter):
    """Keeps secret values out of log records, tracebacks included."""

    def __init__(self, secrets: EnvironmentSecrets) -> None:
        super().__init__()
        self._secrets = secrets
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place and let it pass."""
        record.msg, record.args = self._secrets.hide(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = self._secrets.hide(self._formatter.formatException(record.exc_info))
            record.exc_info = None
        if record.stack_info:
            record.stack_info = self._secrets.hide(record.stack_info)
        return True

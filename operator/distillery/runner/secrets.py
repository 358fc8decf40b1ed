"""Secrets of a local run: given on the command line by reference, else taken from the environment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from distillery.errors import Problem, SpecError
from distillery.secrets import EnvironmentSecrets, HidingFilter
from distillery.settings import Settings, secret_variable

__all__ = ["HidingFilter", "LocalSecrets"]


class LocalSecrets(EnvironmentSecrets):
    """Looks values up by (Secret name, key) where a `--secret` reference says, else in the environment."""

    def __init__(self, settings: Settings, references: Sequence[str] = ()) -> None:
        """Parse `NAME/KEY=env:VAR` and `NAME/KEY=file:PATH` references. Raises: SpecError.

        Paths count from the present folder, also where the references travel to.
        """
        super().__init__(settings)
        self._given = dict(_parse(reference) for reference in references)
        self._folder = Path.cwd()

    def _look_up(self, name: str, key: str) -> str | None:
        source = self._given.get((name, key))
        return super()._look_up(name, key) if source is None else self._read(source, name, key)

    def _missing(self, name: str, key: str) -> Problem:
        return Problem(
            f"secret {name}/{key}",
            "is not set",
            f"export {secret_variable(name, key)}=… or pass --secret {name}/{key}=env:VARIABLE "
            f"or --secret {name}/{key}=file:PATH",
        )

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
            return (self._folder / where).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SpecError(Problem(flag, f"cannot read {where}: {reason}", "name a readable file")) from None


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

"""The command line: verbs only. Every import of weight happens inside the verb that needs it."""

from __future__ import annotations

from distillery.cli.app import main

__all__ = ["main"]

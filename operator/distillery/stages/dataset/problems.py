"""Mistakes in rows: raised one at a time, collected over whole files, reported together."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable

from distillery.errors import Problem, SpecError

MAX_PROBLEMS = 20
SHOWN_PER_KIND = 3


class RowError(Exception):
    """One row is wrong. `kind` groups rows with the same mistake; the collector adds file and line."""

    def __init__(self, kind: str, message: str, repair: str = "") -> None:
        super().__init__(kind, message, repair)
        self.kind = kind
        self.message = message
        self.repair = repair


class Problems:
    """Up to 20 problems in the order found; of one kind in one file three in full, then only a count."""

    def __init__(self) -> None:
        self._shown: list[Problem] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, file: str, line: int, problem: RowError) -> None:
        """Note a problem of `file`, line numbers from 1."""
        kind = (file, problem.kind)
        self._counts[kind] += 1
        if self._counts[kind] <= SHOWN_PER_KIND:
            self._shown.append(Problem(f"{file}:{line}", problem.message, problem.repair))

    @property
    def full(self) -> bool:
        """Whether reading on would show nothing new."""
        return len(self._shown) >= MAX_PROBLEMS

    def check(self) -> None:
        """Raise: SpecError with everything noted so far, if anything was."""
        if not self._shown:
            return
        shown = self._shown[:MAX_PROBLEMS]
        for (file, kind), count in self._counts.items():
            if count > SHOWN_PER_KIND and len(shown) < MAX_PROBLEMS:
                rest = count - SHOWN_PER_KIND
                shown.append(Problem(file, f"{rest:,} more {'row' if rest == 1 else 'rows'} with {kind}"))
        raise SpecError(*shown)


def listing(names: Iterable[str], most: int = 12) -> str:
    """Return names for a message: in order, shortened if there are many."""
    kept = list(names)
    more = f" and {len(kept) - most} more" if len(kept) > most else ""
    return ", ".join(kept[:most]) + more


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'? ` for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"did you mean {close[0]!r}? " if close else ""

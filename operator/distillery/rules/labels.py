"""Which label a text stands for: tolerant of case, spacing and decoration, never of doubt.

Labels are compared as they are; only the *text* is peeled, one layer at a time and no further than needed.
Peeling the labels too would make `C` stand for `C#` and `1` for `-1`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

PAIRS = {'"': '"', "'": "'", "“": "”", "„": "“", "‘": "’", "«": "»", "「": "」", "`": "`", "*": "*", "_": "_"}
PAIRS |= {"(": ")", "[": "]", "<": ">"}
LEADING = frozenset(PAIRS) | {"#", ">", "”", "’"}
TRAILING = frozenset(PAIRS.values()) | {".", ",", ";", ":", "!", "。", "、"}
INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060"
# A dash before a number may be its sign.
_BULLET = re.compile(r"(?:[•·*]|[-+](?!\s*\d))\s+")
_SPACES = re.compile(r"\s+")
_SEPARATORS = re.compile(r"(?<=[^\W_])[\s_\-‐‑‒–]+(?=[^\W_])")


def tidy(text: str) -> str:
    """Return `text` in compatibility form (NFKC) without invisible characters and outer whitespace."""
    return unicodedata.normalize("NFKC", text).strip(INVISIBLE).strip().strip(INVISIBLE)


def fold(text: str) -> str:
    """Return `text` without differences of case and of the amount of whitespace (Unicode's NFKC_Casefold)."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _SPACES.sub(" ", folded).strip()


def join_words(text: str) -> str:
    """Return folded `text` with one space for every run of spaces, hyphens and underscores between words."""
    return _SEPARATORS.sub(" ", fold(text))


# From strict to loose: the first form under which a text is known decides.
FORMS: tuple[Callable[[str], str], ...] = (tidy, fold, join_words)


def peel(text: str) -> str | None:
    """Return `text` without its outermost quote, Markdown, bracket or final punctuation, or None.

    A matching pair goes at once; otherwise the end goes before the beginning.
    """
    if len(text) > 1 and PAIRS.get(text[0]) == text[-1]:
        return text[1:-1].strip()
    if text and text[-1] in TRAILING:
        return text[:-1].rstrip()
    if bullet := _BULLET.match(text):
        return text[bullet.end() :]
    if text and text[0] in LEADING:
        return text[1:].lstrip()
    return None


class LabelIndex:
    """The labels of a task, looked up by their forms."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._exact = frozenset(labels)
        self._forms = [_by_form(form, self.labels) for form in FORMS]

    def find(self, text: str) -> str | None:
        """Return the one label that `text` stands for, or None if there is none or more than one."""
        if text in self._exact:
            return text
        rest: str | None = tidy(text)
        while rest:
            for form, known in zip(FORMS, self._forms, strict=True):
                shaped = form(rest)
                if shaped in known:
                    return known[shaped]
            rest = peel(rest)
        return None


def _by_form(form: Callable[[str], str], labels: Sequence[str]) -> dict[str, str | None]:
    """Map each form to its label, or to None where two labels share it."""
    known: dict[str, str | None] = {}
    for label in labels:
        shaped = form(label)
        known[shaped] = None if shaped in known and known[shaped] != label else label
    return known


@lru_cache(maxsize=64)
def label_index(labels: tuple[str, ...]) -> LabelIndex:
    """Return the index of `labels`; built once."""
    return LabelIndex(labels)

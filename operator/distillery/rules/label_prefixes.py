"""Which label the beginning of an answer can still become.

The comparison is the normaliser's, made coarser: whenever some continuation of a text would be normalised to
a label, that label counts as possible. So what looks like the only possible label is the only one.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache

from distillery.rules.labels import INVISIBLE, LEADING, TRAILING, label_index, tidy

NO_LABEL = -1
SEVERAL_LABELS = -2

_CACHED_PREFIXES = 200_000
_SPACES = re.compile(r"\s+")
_SEPARATORS = re.compile(r"(?<!^)[\s_\-‐‑‒–]+")
_BULLET = re.compile(r"[-+•·](?:\s|$)")


class LabelPrefixes:
    """The labels of a task, looked up by what an answer begins with."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._exact = label_index(tuple(labels))
        self._numbers = {label: number for number, label in enumerate(labels)}
        pairs = sorted((_squash(tidy(label)), number) for number, label in enumerate(labels))
        self._keys = [key for key, _ in pairs]
        self._sorted = [number for _, number in pairs]
        self._known: dict[str, int] = {}

    def complete(self, text: str) -> int:
        """Return the index of the label that the whole answer `text` stands for, or NO_LABEL."""
        label = self._exact.find(text)
        return NO_LABEL if label is None else self._numbers[label]

    def possible(self, text: str) -> int:
        """Return the index of the only label that `text` can become, NO_LABEL or SEVERAL_LABELS."""
        found = self._known.get(text)
        if found is None:
            if len(self._known) >= _CACHED_PREFIXES:
                self._known.clear()
            found = self._known[text] = self._look_up(text)
        return found

    def _look_up(self, text: str) -> int:
        found: set[int] = set()
        for beginning in _without_leading(unicodedata.normalize("NFKC", text)):
            found.update(self._starting_with(_squash(beginning)))
            for whole in _without_trailing(beginning):
                found.update(self._equal_to(_squash(whole)))
            if len(found) > 1:
                return SEVERAL_LABELS
        return found.pop() if found else NO_LABEL

    # Both return at most two labels: that is enough to know of doubt.

    def _starting_with(self, key: str) -> list[int]:
        start = bisect_left(self._keys, key)
        count = sum(other.startswith(key) for other in self._keys[start : start + 2])
        return self._sorted[start : start + count]

    def _equal_to(self, key: str) -> list[int]:
        start = bisect_left(self._keys, key)
        count = sum(other == key for other in self._keys[start : start + 2])
        return self._sorted[start : start + count]


@lru_cache(maxsize=16)
def label_prefixes(labels: tuple[str, ...]) -> LabelPrefixes:
    """Return the prefixes of `labels`; built once."""
    return LabelPrefixes(labels)


def _squash(text: str) -> str:
    """Return a form in which the beginning of a text is the beginning of the text's form.

    Compositions are taken apart (NFKD), since an accent may come with the next token; separators are dropped,
    since the next token decides whether they stand between words.
    """
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return _SEPARATORS.sub("", _SPACES.sub(" ", folded).strip())


def _without_leading(text: str) -> list[str]:
    """Return `text` and what remains of it while the normaliser could peel its beginning."""
    forms = [text]
    while text and (text[0].isspace() or text[0] in LEADING or text[0] in INVISIBLE or _BULLET.match(text)):
        text = text[1:]
        forms.append(text)
    return forms


def _without_trailing(text: str) -> list[str]:
    """Return `text` and what remains of it while the normaliser could peel its end."""
    forms = [text]
    while text and (text[-1].isspace() or text[-1] in TRAILING or text[-1] in INVISIBLE):
        text = text[:-1]
        forms.append(text)
    return forms

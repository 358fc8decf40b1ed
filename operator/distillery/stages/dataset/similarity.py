"""Near-duplicates by word trigrams: an exact Jaccard join with prefix and length filters, on arrays. Pure.

Prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007, "Scaling up all pairs similarity search"): order
every set from the rarest trigram to the commonest. Two sets of similarity ≥ t share at least ⌈t·|x|⌉ members,
hence one of the first |x| − ⌈t·|x|⌉ + 1 of each. Only rows that share such a rare trigram are compared, and
no pair is missed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Tick = Callable[[int, int], None]

EPSILON = 1e-9
"""Slack for thresholds such as 0.7 that binary fractions only approach."""
FIRST_LOOK = 16
"""Candidates taken of each posting at first: in a dense cluster, where these are long, one matches."""

# Scripts written without spaces are taken character by character: CJK, kana, Thai, Lao, Burmese, Khmer.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """Return the words that are compared: case-folded, without punctuation; mere symbols split at blanks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(folded) or folded.split()


@dataclass(frozen=True, slots=True)
class TrigramSets:
    """The trigram sets of n texts, one after another, each from the rarest trigram to the commonest.

    Set i is `members[starts[i]:starts[i + 1]]`; members are ranks of frequency, 0 the rarest, below `kinds`.
    """

    members: Ints
    starts: Ints
    kinds: int

    @property
    def sizes(self) -> Ints:
        """Number of distinct trigrams of each text."""
        return np.diff(self.starts)


def trigram_sets(texts: Iterable[tuple[str, str]]) -> TrigramSets:
    """Return the sets of texts given as (realm, text); texts of different realms share no trigram.

    A text of one or two words is one trigram, padded; so it matches only itself.
    """
    vocabulary: dict[str, int] = {"": 0}
    number: list[int] = []
    realms: dict[str, int] = {}
    realm_of: list[int] = []
    lengths: list[int] = []
    for realm, text in texts:
        found = words(text) or [""]
        found += [""] * (3 - len(found))
        number.extend(vocabulary.setdefault(word, len(vocabulary)) for word in found)
        lengths.append(len(found))
        realm_of.append(realms.setdefault(realm, len(realms)))
    stream = np.asarray(number, dtype=np.int64)
    length = np.asarray(lengths, dtype=np.int64)
    return _sets(stream, length, np.asarray(realm_of, dtype=np.int64), len(vocabulary))


def _sets(stream: Ints, length: Ints, realm_of: Ints, vocabulary: int) -> TrigramSets:
    """Turn a stream of word numbers, `length[i]` of them for text i, into sets."""
    texts = len(length)
    owner = np.repeat(np.arange(texts, dtype=np.int64), length)
    first = np.flatnonzero(owner[:-2] == owner[2:]) if len(stream) > 2 else np.zeros(0, dtype=np.int64)
    owner = owner[first]
    # Dense numbers in between keep the products within 63 bits.
    pairs, kinds = _dense(stream[first] * vocabulary + stream[first + 1])
    triples, kinds = _dense(pairs * vocabulary + stream[first + 2])
    triples, kinds = _dense(triples * (int(realm_of.max(initial=0)) + 1) + realm_of[owner])
    distinct = np.unique(owner * max(kinds, 1) + triples)
    owner, triples = np.divmod(distinct, max(kinds, 1))
    frequency = np.bincount(triples, minlength=kinds)
    rarity = np.empty(kinds, dtype=np.int64)
    rarity[np.argsort(frequency, kind="stable")] = np.arange(kinds)
    members = np.sort(owner * max(kinds, 1) + rarity[triples]) % max(kinds, 1)
    starts = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=texts)))).astype(np.int64)
    return TrigramSets(members, starts, kinds)


def _dense(values: Ints) -> tuple[Ints, int]:
    distinct, numbers = np.unique(values, return_inverse=True)
    return numbers.astype(np.int64), len(distinct)


def near_predecessors(
    sets: TrigramSets, threshold: float, window: tuple[Ints, Ints] | None = None, tick: Tick | None = None
) -> Ints:
    """Return for each text an earlier one that is near it, or −1.

    Args:
        sets: the texts, in order of precedence.
        threshold: Jaccard similarity from which two texts are near.
        window: (low, high) for each text: only texts in low ≤ index < high are looked at; omitted: all
            earlier ones.
        tick: called now and then with (texts done, texts in all); it may raise to stop.
    """
    count = len(sets.starts) - 1
    low, high = window or (np.zeros(count, dtype=np.int64), np.arange(count, dtype=np.int64))
    sizes = sets.sizes
    prefix = sizes - np.ceil(threshold * sizes - EPSILON).astype(np.int64) + 1
    owner, begin, end, postings = _postings(sets, prefix, low, high)
    result = np.full(count, -1, dtype=np.int64)
    marked = np.zeros(max(sets.kinds, 1), dtype=bool)
    bounds = np.searchsorted(owner, np.arange(count + 1))
    for step, text in enumerate(np.unique(owner).tolist()):
        if tick and step % 256 == 0:
            tick(text, count)
        entries = slice(bounds[text], bounds[text + 1])
        spans = list(zip(begin[entries].tolist(), end[entries].tolist(), strict=True))
        for look in (FIRST_LOOK, None):
            parts = [postings[b : e if look is None else min(e, b + look)] for b, e in spans]
            candidates = np.unique(np.concatenate(parts))
            result[text] = _first_near(sets, text, candidates, threshold, marked)
            if result[text] >= 0 or all(e - b <= FIRST_LOOK for b, e in spans):
                break
    return result


def _postings(sets: TrigramSets, prefix: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Index the prefixes.

    Returns: owner, begin, end for each prefix trigram with somebody to meet, grouped by owner, and the
        postings:
    the texts `postings[begin:end]` share the trigram and lie in the owner's window.
    """
    count = len(prefix)
    owner = np.repeat(np.arange(count, dtype=np.int64), prefix)
    offset = np.arange(len(owner), dtype=np.int64) - np.repeat(np.cumsum(prefix) - prefix, prefix)
    trigram = sets.members[np.repeat(sets.starts[:-1], prefix) + offset]
    keys = np.sort(trigram * count + owner)
    begin = np.searchsorted(keys, trigram * count + low[owner])
    end = np.searchsorted(keys, trigram * count + high[owner])
    met = end > begin
    return owner[met], begin[met], end[met], keys % max(count, 1)


def _first_near(
    sets: TrigramSets, text: int, candidates: Ints, threshold: float, marked: NDArray[np.bool_]
) -> int:
    """Return the first of the candidates that is near, or −1. `marked` is all false before and after."""
    mine = sets.members[sets.starts[text] : sets.starts[text + 1]]
    sizes = sets.starts[candidates + 1] - sets.starts[candidates]
    fits = (sizes >= threshold * len(mine) - EPSILON) & (len(mine) >= threshold * sizes - EPSILON)
    candidates, sizes = candidates[fits], sizes[fits]
    if not len(candidates):
        return -1
    ends = np.cumsum(sizes)
    index = np.arange(ends[-1]) + np.repeat(sets.starts[candidates] - (ends - sizes), sizes)
    marked[mine] = True
    shared = np.add.reduceat(marked[sets.members[index]].astype(np.int64), ends - sizes)
    marked[mine] = False
    near = np.flatnonzero(shared >= threshold * (len(mine) + sizes - shared) - EPSILON)
    return int(candidates[near[0]]) if len(near) else -1


def count_near(sets: TrigramSets, threshold: float, sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Return, for consecutive blocks of texts, how many of block b are near some text of block a.

    `sizes` are those of the blocks. Only pairs a < b are counted, under the key (a, b).
    """
    edges = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
    block_of = np.repeat(np.arange(len(sizes)), sizes)
    counts = {}
    for a in range(len(sizes) - 1):
        later = block_of > a
        low = np.where(later, edges[a], 0)
        high = np.where(later, edges[a + 1], 0)
        near = near_predecessors(sets, threshold, (low, high)) >= 0
        for b in range(a + 1, len(sizes)):
            counts[a, b] = int(near[block_of == b].sum())
    return counts

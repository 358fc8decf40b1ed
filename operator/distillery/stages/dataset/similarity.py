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
    """The trigram sets of n texts. A trigram that occurs in one place only is counted, but not kept.

    What is kept of set i is `members[starts[i]:starts[i + 1]]`, from the rarest trigram to the commonest;
    members are ranks of frequency, 0 the rarest, below `kinds`. `sizes` are those of the whole sets.
    """

    members: Ints
    starts: Ints
    sizes: Ints
    kinds: int

    @property
    def kept(self) -> Ints:
        """How many trigrams of each set are kept."""
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
        number.extend([vocabulary.setdefault(word, len(vocabulary)) for word in found])
        lengths.append(len(found))
        realm_of.append(realms.setdefault(realm, len(realms)))
    owner = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    stream = np.asarray(number, dtype=np.int64)
    first = np.flatnonzero(owner[:-2] == owner[2:]) if len(stream) > 2 else np.zeros(0, dtype=np.int64)
    owner = owner[first]
    columns = [stream[first + step] for step in range(3)]
    columns.append(np.asarray(realm_of, dtype=np.int64)[owner])
    kinds = (*[len(vocabulary)] * 3, max(len(realms), 1))
    return _sets(owner, *_packed(columns, kinds), len(lengths))


def _packed(columns: Sequence[Ints], kinds: Sequence[int]) -> tuple[Ints, int]:
    """Return one dense number for each distinct combination of the columns, and how many there are.

    `kinds` bounds the values of each column. What would not fit into 63 bits is made dense in between.
    """
    packed, bound = columns[0], kinds[0]
    for column, kind in zip(columns[1:], kinds[1:], strict=True):
        if bound * kind >= 2**63:
            packed, bound = _dense(packed)
        packed, bound = packed * kind + column, bound * kind
    return _dense(packed)


def _dense(values: Ints) -> tuple[Ints, int]:
    distinct, numbers = np.unique(values, return_inverse=True)
    return numbers.astype(np.int64), len(distinct)


def _sets(owner: Ints, trigram: Ints, kinds: int, texts: int) -> TrigramSets:
    """Make sets of (owner, trigram) pairs with repetitions."""
    once = np.bincount(trigram, minlength=kinds)[trigram] == 1
    alone = np.bincount(owner[once], minlength=texts)
    distinct = np.unique(owner[~once] * max(kinds, 1) + trigram[~once])
    owner, trigram = np.divmod(distinct, max(kinds, 1))
    frequency = np.bincount(trigram, minlength=kinds)
    rarity = np.empty(kinds, dtype=np.int64)
    rarity[np.argsort(frequency, kind="stable")] = np.arange(kinds)
    members = np.sort(owner * max(kinds, 1) + rarity[trigram]) % max(kinds, 1)
    kept = np.bincount(owner, minlength=texts)
    starts = np.concatenate(([0], np.cumsum(kept))).astype(np.int64)
    return TrigramSets(members, starts, (alone + kept).astype(np.int64), kinds)


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
    # The rarest come first: trigrams that nobody else has fill the beginning of the prefix.
    prefix = np.maximum(prefix - (sizes - sets.kept), 0)
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
    size, sizes = sets.sizes[text], sets.sizes[candidates]
    candidates = candidates[(sizes >= threshold * size - EPSILON) & (size >= threshold * sizes - EPSILON)]
    if not len(candidates):
        return -1
    mine = sets.members[sets.starts[text] : sets.starts[text + 1]]
    kept = sets.starts[candidates + 1] - sets.starts[candidates]
    ends = np.cumsum(kept)
    index = np.arange(ends[-1]) + np.repeat(sets.starts[candidates] - (ends - kept), kept)
    marked[mine] = True
    shared = np.add.reduceat(marked[sets.members[index]].astype(np.int64), ends - kept)
    marked[mine] = False
    near = np.flatnonzero(shared >= threshold * (size + sets.sizes[candidates] - shared) - EPSILON)
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

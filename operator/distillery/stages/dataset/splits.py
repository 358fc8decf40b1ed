"""Which split a row belongs to, and its place in the queue for `limit`: by hash, never by position. Pure."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from distillery.api.v1alpha1.dataset import Split

SplitName = Literal["train", "validation", "test"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation", "test")

PURITY: Final[dict[SplitName, int]] = {"test": 0, "validation": 1, "train": 2}
"""Of two near-duplicates in different splits, the one with the higher number goes."""


def split_of(split: Split, key: str) -> SplitName:
    """Return the split of a row.

    Args:
        split: shares and seed.
        key: the row's group, or its id. Equal keys share a split; other rows have no say, so adding some
            moves none.
    """
    position = int.from_bytes(_hash(split.seed, "split", key)[:8]) / 2**64
    if position < split.test:
        return "test"
    return "validation" if position < split.test + split.validation else "train"


def rank(seed: int, key: str, row_id: str) -> bytes:
    """Return the row's place in a fixed random order, group by group.

    It is independent of `split_of`: the first rows in this order are a fair sample of every split.
    """
    return _hash(seed, "rank", key)[:16] + _hash(seed, "row", row_id)[:16]


def _hash(seed: int, purpose: str, key: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{purpose}\0{key}".encode()).digest()

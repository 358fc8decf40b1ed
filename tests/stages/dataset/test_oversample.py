"""Copies: what is lifted, how far, and that the numbers are exact."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1.dataset import Oversample
from distillery.stages.dataset.oversample import copies_of


def training(counts: dict[str, int], name: str = "kind") -> dict[str, list[str]]:
    return {f"{value}{n}": [f"{name}={value}"] for value, count in counts.items() for n in range(count)}


def uses(rows: dict[str, list[str]], copies: dict[str, int]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row_id, slices in rows.items():
        for value in slices:
            total[value] += copies[row_id]
    return dict(total)


def test_values_below_the_median_reach_it_exactly_and_others_stay() -> None:
    rows = training({"a": 100, "b": 50, "c": 40, "d": 7, "e": 60})
    copies = copies_of(rows, Oversample(slices=["kind"], max_factor=10), 17)
    assert uses(rows, copies) == {"kind=a": 100, "kind=b": 50, "kind=c": 50, "kind=d": 50, "kind=e": 60}
    assert {copies[row] for row in rows if row.startswith("d")} == {7, 8}
    assert {copies[row] for row in rows if row.startswith("c")} == {1, 2}


def test_the_factor_caps_a_very_rare_value() -> None:
    rows = training({"a": 100, "b": 100, "c": 3})
    copies = copies_of(rows, Oversample(slices=["kind"], max_factor=5), 17)
    assert uses(rows, copies)["kind=c"] == 15


def test_a_row_in_several_slices_gets_the_largest_number() -> None:
    rows = training({"a": 20, "b": 20, "c": 5}) | {"x": ["kind=c", "lang=de"]}
    rows |= {f"en{n}": ["lang=en"] for n in range(10)} | {f"fr{n}": ["lang=fr"] for n in range(10)}
    both = copies_of(rows, Oversample(slices=["kind", "lang"], max_factor=10), 17)
    kind = copies_of(rows, Oversample(slices=["kind"], max_factor=10), 17)
    lang = copies_of(rows, Oversample(slices=["lang"], max_factor=10), 17)
    assert both == {row: max(kind[row], lang[row]) for row in rows}
    assert lang["x"] == 10


def test_a_slice_without_training_rows_is_no_error() -> None:
    rows = training({"a": 2})
    assert copies_of(rows, Oversample(slices=["other"]), 17) == {"a0": 1, "a1": 1}


@given(
    counts=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 60), min_size=1),
    factor=st.floats(1.01, 10),
    seed=st.integers(0, 5),
)
def test_no_value_passes_the_median_the_factor_or_its_own_count(
    counts: dict[str, int], factor: float, seed: int
) -> None:
    rows = training(counts)
    copies = copies_of(rows, Oversample(slices=["kind"], max_factor=factor), seed)
    middle = math.floor(median(counts.values()))
    want = {
        f"kind={value}": max(count, min(middle, math.floor(count * factor)))
        for value, count in counts.items()
    }
    assert uses(rows, copies) == want
    assert max(copies.values()) <= math.ceil(factor)

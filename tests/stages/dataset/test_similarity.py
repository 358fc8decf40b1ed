"""The near-duplicate join against brute force, and what counts as similar."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.stages.dataset.deduplicate import compared_text
from distillery.stages.dataset.similarity import _packed, count_near, near_predecessors, trigram_sets, words

SMALL = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)
CORPUS = st.lists(st.tuples(st.sampled_from(["", "realm"]), SMALL), max_size=25)
THRESHOLDS = st.sampled_from([0.1, 0.3, 0.5, 2 / 3, 0.7, 0.8, 0.9, 1.0])


def trigrams(text: tuple[str, str]) -> set[tuple[str, ...]]:
    found = words(text[1])
    if len(found) < 3:
        return {(text[0], *found)}
    return {(text[0], *found[i : i + 3]) for i in range(len(found) - 2)}


def near(one: tuple[str, str], other: tuple[str, str], threshold: float) -> bool:
    a, b = trigrams(one), trigrams(other)
    return len(a & b) >= threshold * len(a | b) - 1e-9


@settings(deadline=None, max_examples=300)
@given(corpus=CORPUS, threshold=THRESHOLDS)
def test_the_join_finds_a_row_exactly_when_brute_force_does(
    corpus: list[tuple[str, str]], threshold: float
) -> None:
    found = near_predecessors(trigram_sets(corpus), threshold).tolist()
    for index, text in enumerate(corpus):
        want = [other for other in range(index) if near(corpus[other], text, threshold)]
        assert (found[index] in want) if want else (found[index] == -1)


@settings(deadline=None, max_examples=100)
@given(corpus=CORPUS, threshold=THRESHOLDS, data=st.data())
def test_pairs_across_blocks_are_counted_as_brute_force_does(
    corpus: list[tuple[str, str]], threshold: float, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(corpus)), min_size=2, max_size=2)))
    edges = [0, *cuts, len(corpus)]
    blocks = [corpus[a:b] for a, b in pairwise(edges)]
    want = {
        (a, b): sum(any(near(x, y, threshold) for x in blocks[a]) for y in blocks[b])
        for a, b in [(0, 1), (0, 2), (1, 2)]
    }
    assert count_near(trigram_sets(corpus), threshold, [len(block) for block in blocks]) == want


def test_a_dense_cluster_is_found_beyond_the_first_look() -> None:
    # Seventy long decoys share the rare word of two short texts, which are alike.
    decoys = [("", f"zebra crossing sign {' '.join(f'w{i}x{j}' for j in range(30))}") for i in range(70)]
    corpus = [*decoys, ("", "zebra crossing sign ahead"), ("", "zebra crossing sign ahead now")]
    found = near_predecessors(trigram_sets(corpus), 0.6).tolist()
    assert found == [-1] * 71 + [70]


def test_the_join_tells_how_far_it_is_and_can_be_stopped() -> None:
    corpus = [("", f"the same text {number // 2}") for number in range(600)]
    seen: list[tuple[int, int]] = []
    near_predecessors(trigram_sets(corpus), 0.9, tick=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {600}

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        near_predecessors(trigram_sets(corpus), 0.9, tick=stop)


def test_numbers_too_large_for_one_word_are_made_dense_in_between() -> None:
    rng = np.random.default_rng(1)
    kinds = (2**40, 2**40, 2**40, 3)
    columns = [rng.choice(rng.integers(0, kind, 3), 50) for kind in kinds]
    numbers, count = _packed(columns, kinds)
    distinct, want = np.unique(np.stack(columns), axis=1, return_inverse=True)
    assert count == distinct.shape[1]
    assert len(set(zip(numbers.tolist(), want.tolist(), strict=True))) == count


def test_no_texts_and_empty_texts_are_no_error() -> None:
    assert near_predecessors(trigram_sets([]), 0.8).tolist() == []
    assert near_predecessors(trigram_sets([("", ""), ("", ""), ("", "a")]), 0.8).tolist() == [-1, 0, -1]
    assert np.array_equal(trigram_sets([("", "a b c a b c")]).sizes, [3])


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Hello, WORLD! It's 5 o'clock", ["hello", "world", "it", "s", "5", "o", "clock"]),
        ("Straße ﬁne", ["strasse", "fine"]),
        ("???  !!", ["???", "!!"]),
        ("退款请求", ["退", "款", "请", "求"]),
        ("iPhoneが壊れた", ["iphone", "が", "壊", "れ", "た"]),
        ("Ответьте мне", ["ответьте", "мне"]),
        ("", []),
    ],
)
def test_words_are_what_a_reader_would_call_them(text: str, want: list[str]) -> None:
    assert words(text) == want


def test_the_own_system_message_is_the_realm_and_not_part_of_the_text() -> None:
    system = {"role": "system", "content": "long persona"}
    turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    assert compared_text([system, *turns]) == ("long persona", "one\ntwo")
    assert compared_text(turns) == ("", "one\ntwo")

"""The generator of tickets: repeatable, varied, balanced, and few near-duplicates."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import tickets

from distillery.api.v1alpha1.dataset import Split
from distillery.stages.dataset.splits import split_of

ROWS = tickets.generate(3000, seed=7)
COLUMNS = ["ticket_id", "subject", "body", "category", "kind", "wording", "phrasing", "group"]


def test_equal_seeds_write_equal_files_and_other_seeds_others(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tickets.write(tmp_path / name, 200, seed)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_more_rows_begin_with_the_same_rows():
    assert tickets.generate(50, seed=7) == ROWS[:50]


def test_a_file_holds_one_json_object_with_all_columns_per_line(tmp_path):
    tickets.write(tmp_path / "deep" / "tickets.jsonl", 100, 7)
    lines = (tmp_path / "deep" / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS[:100]
    assert all(list(row) == COLUMNS for row in ROWS)


def test_ids_are_unique():
    assert len({row["ticket_id"] for row in ROWS}) == len(ROWS)


def test_no_template_is_left_unfilled():
    assert [row["body"] for row in ROWS if set("{}[]|") & set(row["subject"] + row["body"])] == []
    assert all(row["subject"] and row["body"] for row in ROWS)


def test_every_category_has_a_seventh_of_the_rows():
    counts = Counter(row["category"] for row in ROWS)
    assert set(counts) == set(tickets.CATEGORIES)
    assert all(abs(count / len(ROWS) - 1 / 7) < 0.03 for count in counts.values())


def test_every_kind_has_its_share():
    counts = Counter(row["kind"] for row in ROWS)
    assert {kind: count / len(ROWS) for kind, count in counts.items()} == pytest.approx(
        tickets.KINDS, abs=0.03
    )


def test_short_rows_are_short_and_long_rows_long():
    words = {
        kind: sorted(len(row["body"].split()) for row in ROWS if row["kind"] == kind)
        for kind in tickets.KINDS
    }
    median = {kind: lengths[len(lengths) // 2] for kind, lengths in words.items()}
    assert median["short"] < 8 < 12 < median["plain"] < 24 < 40 < median["long"]


@pytest.mark.parametrize("category", tickets.CATEGORIES)
def test_each_category_has_enough_phrasings_that_differ(category):
    texts = tickets.phrasings()["category"][category]
    assert len(set(texts["common"])) >= 14
    assert len(set(texts["rare"])) >= 10
    seen = {row["phrasing"] for row in ROWS if row["category"] == category and row["wording"] == "common"}
    assert len(seen) == len(texts["common"])


def test_only_rare_phrasings_are_groups():
    assert all(row["group"] == (row["phrasing"] if row["wording"] == "rare" else None) for row in ROWS)


def test_the_split_of_the_job_holds_a_rare_phrasing_of_every_category_out_of_training():
    split = Split(validation=0.05, test=0.15, seed=1)
    held_out = {row["category"] for row in ROWS if row["group"] and split_of(split, row["group"]) == "test"}
    assert held_out == set(tickets.CATEGORIES)


def test_misspelt_rows_differ_from_what_was_meant_but_keep_their_words():
    import random

    meant = "I would like to return the coffee maker because it is much too loud"
    spoilt = tickets._misspell(meant, random.Random(3))
    assert spoilt.lower() != meant.lower()
    assert len(spoilt.split()) == len(meant.split())


def test_a_ticket_sent_twice_says_so():
    again = [row for row in ROWS if str(row["body"]).endswith("Sent again.")]
    assert 0.01 < len(again) / len(ROWS) < 0.04

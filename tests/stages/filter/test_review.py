from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from distillery.stages.filter.candidates import Decision
from distillery.stages.filter.review import review_sample

Make = Callable[..., Decision]


def test_a_row_shows_what_a_reviewer_needs(decision: Make) -> None:
    decisions = [decision("1", "Billing.", slices=("german",)), decision("2", "other")]
    ticket = {"role": "user", "content": "ticket 1"}
    assert review_sample(decisions, 10) == [
        {
            "row_id": "1",
            "messages": [ticket],
            "answer": "billing",
            "reference": None,
            "slices": ["german"],
            "outcome": "kept",
            "rule": None,
            "reason": None,
            "verdict": None,
        },
        {
            "row_id": "2",
            "messages": [{**ticket, "content": "ticket 2"}],
            "answer": "other",
            "reference": None,
            "slices": [],
            "outcome": "rejected",
            "rule": "format",
            "reason": "not one of the labels",
            "verdict": None,
        },
    ]


def test_rare_slices_and_reasons_are_seen(decision: Make) -> None:
    decisions = [decision(f"k{number}", slices=("common",)) for number in range(200)]
    decisions += [decision("rare slice", slices=("rare",))]
    decisions += [decision(f"f{number}", "other") for number in range(200)]
    decisions += [decision("rare reason", finish_reason="length")]
    sample = review_sample(decisions, 10)
    assert Counter(row["outcome"] for row in sample) == {"kept": 5, "rejected": 5}
    assert {"rare slice", "rare reason"} <= {row["row_id"] for row in sample}


def test_places_that_one_half_lacks_go_to_the_other(decision: Make) -> None:
    kept = [decision(f"k{number}") for number in range(20)]
    rejected = [decision(f"f{number}", "other") for number in range(20)]

    def outcomes(decisions: list[Decision]) -> Counter[str]:
        return Counter(row["outcome"] for row in review_sample(decisions, 10))

    assert outcomes(kept) == {"kept": 10}
    assert outcomes(rejected) == {"rejected": 10}
    assert outcomes(kept + rejected[:2]) == {"kept": 8, "rejected": 2}
    assert outcomes(kept[:3] + rejected) == {"kept": 3, "rejected": 7}


def test_failed_calls_are_not_reviewed(decision: Make) -> None:
    assert review_sample([decision("1", None, failure="TimedOut")], 10) == []


def test_adding_rows_moves_few_rows_of_the_sample(decision: Make) -> None:
    decisions = [decision(f"row {number}") for number in range(400)]
    before = {row["row_id"] for row in review_sample(decisions[:380], 40)}
    after = {row["row_id"] for row in review_sample(decisions, 40)}
    assert len(before & after) >= 34


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["billing", "other", ""]), st.sets(st.sampled_from("abc"))), max_size=40
    ),
    size=st.integers(0, 50),
    seed=st.randoms(use_true_random=False),
)
def test_the_sample_is_full_without_repeats_and_independent_of_the_order(
    decision: Make, rows: list[tuple[str, set[str]]], size: int, seed: object
) -> None:
    decisions = [
        decision(f"{number}", text, slices=tuple(sorted(slices)))
        for number, (text, slices) in enumerate(rows)
    ]
    sample = review_sample(decisions, size)
    assert len({row["row_id"] for row in sample}) == len(sample) == min(size, len(rows))
    seed.shuffle(decisions)  # type: ignore[attr-defined]
    assert review_sample(decisions, size) == sample

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1.filter import Discard
from distillery.rules.label_distribution import LabelDistribution
from distillery.stages.filter.candidates import Decision
from distillery.stages.filter.counts import count, funnel

LABELS = ["billing", "login"]
Make = Callable[..., Decision]


def test_the_document_counts_every_row_once_per_view(decision: Make) -> None:
    decisions = [
        decision("1", slices=("german", "short")),
        decision("2", "Login.", slices=("german",)),
        decision("3", "billing", split="validation"),
        decision("4", "other", slices=("german",)),
        decision("5", "other", split="validation"),
        decision("6", finish_reason="length"),
        decision("7", None, failure="TimedOut", slices=("short",)),
        decision("8", "login"),
    ]
    soft = {
        "1": LabelDistribution((0.75, 0.25), 1.0, 0.0, 0.0),
        "2": LabelDistribution((0.75, 0.25), 0.9375, 0.0, 0.0625),
        "3": LabelDistribution((1.0, 0.0), 0.4375, 0.5, 0.0625),
    }
    assert count(decisions, Discard(expected=[0.05, 0.2], max=0.5), LABELS, soft) == {
        "version": 1,
        "asked": 8,
        "kept": 4,
        "rejected": 3,
        "failed": 1,
        "discardShare": 3 / 7,
        "expected": [0.05, 0.2],
        "max": 0.5,
        "withinExpected": False,
        "splits": {
            "train": {"asked": 6, "kept": 3, "rejected": 2, "failed": 1, "discardShare": 0.4},
            "validation": {"asked": 2, "kept": 1, "rejected": 1, "failed": 0, "discardShare": 0.5},
        },
        "slices": {
            "german": {"asked": 3, "kept": 2, "rejected": 1, "failed": 0, "discardShare": 1 / 3},
            "short": {"asked": 2, "kept": 1, "rejected": 0, "failed": 1, "discardShare": 0.0},
        },
        "rules": [
            {
                "rule": "format",
                "reason": "not one of the labels",
                "rows": 2,
                "splits": {"train": 1, "validation": 1},
                "slices": {"german": 1},
            },
            {
                "rule": "length",
                "reason": "cut off at the token limit",
                "rows": 1,
                "splits": {"train": 1},
                "slices": {},
            },
            {
                "rule": "teacher",
                "reason": "TimedOut",
                "rows": 1,
                "splits": {"train": 1},
                "slices": {"short": 1},
            },
        ],
        "answers": {"billing": 1, "login": 2},
        "softLabels": {
            "rows": 2,
            "share": 0.5,
            "withLogprobs": 3,
            "meanCoverage": 2.375 / 3,
            "meanUnresolved": 0.5 / 3,
            "meanTail": 0.125 / 3,
            "otherThanAnswer": 1,
        },
    }


def test_nothing_is_counted_without_rows() -> None:
    assert funnel([]) == {"asked": 0, "kept": 0, "rejected": 0, "failed": 0, "discardShare": 0.0}


answers = st.tuples(
    st.sampled_from(["billing", "LOGIN", "other", "", None, "I'm sorry, but I can't help."]),
    st.sampled_from(["train", "validation"]),
    st.sets(st.sampled_from(["german", "short"])),
    st.sampled_from([None, None, "TimedOut"]),
    st.sampled_from(["stop", "length", "content_filter"]),
)


@given(rows=st.lists(answers, max_size=30))
def test_the_sums_reconcile(decision: Make, rows: list[tuple[str, str, set[str], str, str]]) -> None:
    decisions = [
        decision(f"row {number}", text, split, tuple(sorted(slices)), failure, finish_reason=finish)
        for number, (text, split, slices, failure, finish) in enumerate(rows)
    ]
    document = count(decisions, Discard(), LABELS, {})
    for group in [document, *document["splits"].values(), *document["slices"].values()]:
        assert group["asked"] == group["kept"] + group["rejected"] + group["failed"]
    assert document["asked"] == len(rows) == sum(group["asked"] for group in document["splits"].values())
    dropped = sum(entry["rows"] for entry in document["rules"])
    assert dropped == document["rejected"] + document["failed"]
    assert all(entry["rows"] == sum(entry["splits"].values()) for entry in document["rules"])
    assert sum(document["answers"].values()) == document["splits"].get("train", {"kept": 0})["kept"]
    for name, group in document["slices"].items():
        in_slice = sum(entry["slices"].get(name, 0) for entry in document["rules"])
        assert in_slice == group["rejected"] + group["failed"]

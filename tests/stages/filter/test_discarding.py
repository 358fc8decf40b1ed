from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from distillery.api.v1alpha1.filter import Discard
from distillery.errors import StageFailed
from distillery.stages.filter.candidates import Decision
from distillery.stages.filter.counts import count
from distillery.stages.filter.discarding import check_discards, concerns

LABELS = ["billing", "login"]
Make = Callable[..., Decision]


def document_of(decisions: list[Decision], expected: list[float], maximum: float) -> dict[str, Any]:
    return count(decisions, Discard(expected=expected, max=maximum), LABELS, {})


def test_too_many_discards_stop_the_job_with_reasons_examples_and_repairs(decision: Make) -> None:
    decisions = [
        decision("1"),
        decision("2", "This ticket is about " + "billing " * 20),
        decision("3", "login", finish_reason="length"),
        decision("4", "login", finish_reason="length"),
        decision("5", None, failure="TimedOut"),
    ]
    with pytest.raises(StageFailed) as caught:
        check_discards(document_of(decisions, [0.0, 0.2], 0.5), decisions)
    assert (caught.value.reason, caught.value.failure_class) == ("DiscardTooHigh", "user")
    assert caught.value.message == (
        "3 of 4 answers (75.0%) were discarded, more than filter.discard.max 0.5. "
        "length: cut off at the token limit, 2 rows; for example row '3' was answered 'login' → "
        "raise teacher.parameters.maxTokens or let task.systemPrompt ask for less. "
        "format: not one of the labels, 1 row; for example row '2' was answered "
        "'This ticket is about billing billing billing billing billing billing billing bi…' → "
        "let task.systemPrompt ask for exactly one of the labels and nothing else."
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_limit_itself_is_allowed(decision: Make) -> None:
    decisions = [decision("1"), decision("2", "other")]
    check_discards(document_of(decisions, [0.0, 0.2], 0.5), decisions)


def test_failed_calls_are_no_discards(decision: Make) -> None:
    decisions = [
        decision("1"),
        decision("2", None, failure="TimedOut"),
        decision("3", None, failure="TimedOut"),
    ]
    check_discards(document_of(decisions, [0.0, 0.0], 0.0), decisions)


NOTHING: dict[str, list[tuple[str, str | None, str, str | None]]] = {
    "everything was rejected": [("1", "other", "train", None)],
    "every call failed": [("1", None, "train", "TimedOut")],
    "only validation rows are left": [("1", "other", "train", None), ("2", "login", "validation", None)],
}


@pytest.mark.parametrize("case", NOTHING)
def test_a_job_needs_a_row_to_learn_from(case: str, decision: Make) -> None:
    decisions = [decision(row_id, text, split, (), failure) for row_id, text, split, failure in NOTHING[case]]
    with pytest.raises(StageFailed, match=r"no training row is left .* for example row '1'") as caught:
        check_discards(document_of(decisions, [0.0, 1.0], 1.0), decisions)
    assert caught.value.reason == "NothingKept"


def test_what_is_odd_is_said(decision: Make) -> None:
    decisions = [decision("1", slices=("german",)), decision("2", "other", slices=("french",))]
    assert concerns(document_of(decisions, [0.05, 0.2], 0.5)) == [
        "50.0% of the answers were discarded, outside filter.discard.expected [0.05, 0.2]",
        "no row is kept of slice 'french'",
        "no kept training row is answered with label 'login'",
    ]


def test_long_lists_are_cut(decision: Make) -> None:
    decisions = [decision("0"), decision("1", "login")]
    decisions += [decision(f"x{number}", "other", slices=(f"s{number}",)) for number in range(7)]
    assert concerns(document_of(decisions, [0.0, 1.0], 1.0)) == [
        "no row is kept of slices 's0', 's1', 's2', 's3', 's4' and 2 more"
    ]


def test_nothing_is_said_when_all_is_well(decision: Make) -> None:
    decisions = [decision("1", slices=("german",)), decision("2", "login")]
    assert concerns(document_of(decisions, [0.0, 0.2], 0.5)) == []

from __future__ import annotations

from typing import Any

import pytest

from distillery.api.v1alpha1 import filter as api
from distillery.api.v1alpha1.task import Output
from distillery.errors import StageFailed
from distillery.rules.filtering import Judged, build_rules
from distillery.stages.filter.candidates import Candidate, Decision, decide, gather

LABEL = Output(format="label", labels=["billing", "login"])


def row(row_id: str, split: str = "train") -> dict[str, Any]:
    return {"row_id": row_id, "split": split, "messages": [], "reference": None, "slices": None, "copies": 1}


def completion(row_id: str, sample_index: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "row_id": row_id,
        "sample_index": sample_index,
        "status": "answered",
        "reason": None,
        "text": "billing",
        "finish_reason": "stop",
        "refusal": None,
        "completion_tokens": 2,
        **fields,
    }


def judged(row_id: str, split: str = "train", text: str | None = "billing", **fields: Any) -> Judged:
    known = {"finish_reason": "stop", "refusal": None, "completion_tokens": 2, "output": LABEL, **fields}
    return Judged(row_id=row_id, split=split, text=text, **known)


def test_asked_rows_meet_their_answers_in_the_order_of_row_ids() -> None:
    inputs = [row("c", "validation"), row("a"), row("t", "test"), row("b")]
    completions = [
        completion("b", status="failed", reason="TimedOut", text=None),
        completion("a", 2, text="login"),
        completion("a", 1, status="failed", text=None),
        completion("a"),
        completion("c", text="Billing."),
    ]
    assert gather(inputs, completions, LABEL) == [
        Candidate(row("a"), judged("a", extra=("login",)), None),
        Candidate(row("b"), judged("b", text=None), "TimedOut"),
        Candidate(row("c", "validation"), judged("c", "validation", "Billing."), None),
    ]


def test_a_row_that_was_never_asked_is_an_error() -> None:
    with pytest.raises(StageFailed, match="no answer to row 'b'") as caught:
        gather([row("a"), row("b")], [completion("a"), completion("b", 1)], LABEL)
    assert caught.value.reason == "CompletionsIncomplete"


def test_a_decision_is_a_target_or_a_rule_with_a_reason() -> None:
    rules = build_rules(api.Filter().rules)
    kept = Candidate(row("a"), judged("a", text="**Billing**"), None)
    rejected = Candidate(row("b"), judged("b", text="other"), None)
    failed = Candidate(row("c"), judged("c", text=None), "TimedOut")
    assert [decide(candidate, rules) for candidate in (kept, rejected, failed)] == [
        Decision(kept, "billing"),
        Decision(rejected, None, "format", "not one of the labels"),
        Decision(failed, None, "teacher", "TimedOut"),
    ]

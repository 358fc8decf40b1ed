from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1 import filter as api
from distillery.api.v1alpha1.task import Output
from distillery.errors import Problem, SpecError
from distillery.rules.filtering import Judged, Rejection, agreement, build_rules, first_rejection

LABEL = Output(format="label", labels=["billing", "login"])
JSON = Output(format="json", schema={"type": "object"})
TEXT = Output(format="text")

GOOD = Judged(
    row_id="row",
    split="train",
    text="billing",
    finish_reason="stop",
    refusal=None,
    completion_tokens=1,
    output=LABEL,
)
DECLINED = "I'm sorry, but I can't help with that."


def rules(*sections: dict[str, Any]) -> list[api.Rule]:
    return [api.Rule.model_validate(section) for section in sections]


FORMAT = {"format": {}}
LENGTH = {"length": {"maxTokens": 8}}
REFUSAL = {"refusal": {}}
CONSISTENCY = {"consistency": {"minAgreement": 0.5}}
ALL = rules(FORMAT, LENGTH, REFUSAL, CONSISTENCY)

CASES: dict[str, tuple[list[api.Rule], Judged, Rejection | None]] = {
    "a good answer passes": (ALL, GOOD, None),
    "an answer in another dress passes": (ALL, replace(GOOD, text="**Billing.**"), None),
    "no label": (ALL, replace(GOOD, text="other"), Rejection("format", "not one of the labels")),
    "no text": (ALL, replace(GOOD, text=None), Rejection("format", "empty answer")),
    "blank text": (ALL, replace(GOOD, text=" \n", output=TEXT), Rejection("format", "empty answer")),
    "no JSON": (ALL, replace(GOOD, text="{", output=JSON), Rejection("format", "not valid JSON")),
    "JSON of another shape": (
        ALL,
        replace(GOOD, text="[]", output=JSON),
        Rejection("format", "does not match the schema"),
    ),
    "a truncated answer": (
        ALL,
        replace(GOOD, finish_reason="length"),
        Rejection("length", "cut off at the token limit"),
    ),
    "a long answer": (
        ALL,
        replace(GOOD, completion_tokens=9),
        Rejection("length", "longer than 8 tokens"),
    ),
    "the longest allowed answer": (ALL, replace(GOOD, completion_tokens=8), None),
    "an answer of unknown length": (ALL, replace(GOOD, completion_tokens=None), None),
    "any length where none is given": (
        rules({"length": {}}),
        replace(GOOD, completion_tokens=10_000),
        None,
    ),
    "the API's refusal": (
        ALL,
        replace(GOOD, refusal="No."),
        Rejection("refusal", "refused by the teacher"),
    ),
    "a content filter": (
        ALL,
        replace(GOOD, finish_reason="content_filter"),
        Rejection("refusal", "stopped by a content filter"),
    ),
    "a refusal in words": (
        ALL,
        replace(GOOD, text=DECLINED, output=TEXT),
        Rejection("refusal", "reads like a refusal"),
    ),
    "a refusal of a label task fails the first rule": (
        ALL,
        replace(GOOD, text=DECLINED),
        Rejection("format", "not one of the labels"),
    ),
    "and another one if it comes first": (
        rules(REFUSAL, FORMAT),
        replace(GOOD, text=DECLINED),
        Rejection("refusal", "reads like a refusal"),
    ),
    "a label that reads like a refusal is a label": (
        ALL,
        replace(GOOD, text="i can't help", output=Output(format="label", labels=["I can't help", "ok"])),
        None,
    ),
    "a pattern of the task's own": (
        rules({"refusal": {"patterns": [r"\bn/?a\b"]}}),
        replace(GOOD, text="Sadly N/A here", output=TEXT),
        Rejection("refusal", "matches a refusal pattern"),
    ),
    "samples that agree": (ALL, replace(GOOD, extra=("Billing", "login")), None),
    "samples that disagree": (
        ALL,
        replace(GOOD, extra=("login", "login", "billing")),
        Rejection("consistency", "1 of 3 extra samples agree, fewer than 0.5"),
    ),
    "no samples are no evidence": (ALL, replace(GOOD, extra=()), None),
    "samples that are no answers disagree": (
        ALL,
        replace(GOOD, extra=("other", None)),
        Rejection("consistency", "0 of 2 extra samples agree, fewer than 0.5"),
    ),
    "texts are not compared": (ALL, replace(GOOD, output=TEXT, extra=("a", "b")), None),
    "a validation row is not judged by its samples": (
        ALL,
        replace(GOOD, split="validation", extra=("login", "login")),
        None,
    ),
    "a validation row is judged by its format": (
        ALL,
        replace(GOOD, split="validation", text="other"),
        Rejection("format", "not one of the labels"),
    ),
    "a test row is never rejected": (ALL, replace(GOOD, split="test", text=DECLINED), None),
    "an answer without a normal form is rejected without a format rule too": (
        rules(LENGTH),
        replace(GOOD, text="other"),
        Rejection("format", "not one of the labels"),
    ),
    "rules are asked in their order": (
        rules(LENGTH, FORMAT),
        replace(GOOD, text="other", finish_reason="length"),
        Rejection("length", "cut off at the token limit"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_rule_that_objects_decides(case: str) -> None:
    declared, judged, want = CASES[case]
    assert first_rejection(build_rules(declared), judged) == want


def test_agreement_is_counted_before_any_threshold() -> None:
    assert agreement(replace(GOOD, extra=("login", "BILLING", None))) == (1, 3)


BROKEN: dict[str, tuple[list[api.Rule], list[Problem]]] = {
    "an item without a rule": (
        rules(FORMAT, {}),
        [Problem("spec.filter.rules[1]", "one rule is wanted, found none", "write one list item per rule")],
    ),
    "an item with two rules": (
        rules({**FORMAT, **LENGTH}),
        [
            Problem(
                "spec.filter.rules[0]",
                "one rule is wanted, found format, length",
                "write one list item per rule",
            )
        ],
    ),
    "a pattern that is no regular expression": (
        rules({"refusal": {"patterns": ["ok", "(", "*"]}}),
        [
            Problem(
                "spec.filter.rules[0].refusal.patterns[1]",
                "'(' is no regular expression: missing ), unterminated subpattern at position 0",
                "escape special characters with a backslash",
            ),
            Problem(
                "spec.filter.rules[0].refusal.patterns[2]",
                "'*' is no regular expression: nothing to repeat at position 0",
                "escape special characters with a backslash",
            ),
        ],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_named(case: str) -> None:
    declared, want = BROKEN[case]
    with pytest.raises(SpecError) as caught:
        build_rules(declared)
    assert list(caught.value.problems) == want


@given(
    text=st.none() | st.text(),
    finish_reason=st.sampled_from([None, "stop", "length", "content_filter", "tool_calls"]),
    refusal=st.none() | st.text(max_size=3),
    tokens=st.none() | st.integers(0, 100),
    output=st.sampled_from([LABEL, JSON, TEXT]),
    extra=st.lists(st.none() | st.text(max_size=5), max_size=3),
)
def test_no_answer_breaks_the_rules(
    text: str | None,
    finish_reason: str | None,
    refusal: str | None,
    tokens: int | None,
    output: Output,
    extra: list[str | None],
) -> None:
    judged = Judged("row", "train", text, finish_reason, refusal, tokens, output, tuple(extra))
    found = first_rejection(build_rules(ALL), judged)
    assert found is None or (found.rule in {"format", "length", "refusal", "consistency"} and found.reason)

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1.task import Output
from distillery.rules.normalising import equal, normalise

TICKETS = ["billing", "Feature request", "bug"]
TEXT = Output(format="text")
JSON = Output(format="json")
ROUTE = Output(
    format="json",
    schema={"type": "object", "properties": {"route": {"enum": ["a", None]}}, "required": ["route"]},
)


def label_output(labels: list[str]) -> Output:
    return Output(format="label", labels=labels)


LABELS: dict[str, tuple[list[str], str, str | None]] = {
    "the label itself": (TICKETS, "billing", "billing"),
    "another case": (TICKETS, "BILLING", "billing"),
    "blanks and newlines around": (TICKETS, " \n billing\n\n", "billing"),
    "a trailing period": (TICKETS, "Billing.", "billing"),
    "quotes": (TICKETS, '"billing"', "billing"),
    "quotes, then a period": (TICKETS, "“billing”.", "billing"),
    "a period, then quotes": (TICKETS, '"billing."', "billing"),
    "bold Markdown": (TICKETS, "**Billing**", "billing"),
    "a heading": (TICKETS, "## Billing", "billing"),
    "a list item": (TICKETS, "- billing", "billing"),
    "a code fence": (TICKETS, "```\nbilling\n```", "billing"),
    "an underscore for the space": (TICKETS, "feature_request", "Feature request"),
    "a hyphen and another case": (TICKETS, "FEATURE-REQUEST", "Feature request"),
    "a newline for the space": (TICKETS, "feature\nrequest", "Feature request"),
    "full-width letters": (TICKETS, "ｂｕｇ", "bug"),
    "a sentence around the label": (TICKETS, "This is billing", None),
    "the label and an explanation": (TICKETS, "billing\n\nThe card was charged.", None),
    "two labels": (TICKETS, "billing, bug", None),
    "a word that begins like a label": (TICKETS, "bugs", None),
    "a question mark shows doubt": (TICKETS, "billing?", None),
    "nothing": (TICKETS, "", None),
    "decoration only": (TICKETS, '"**"', None),
    "a sign belongs to the label": (["-1", "0", "1"], "-1.", "-1"),
    "a sign is no list item": (["0", "1"], "-1", None),
    "a sign apart is no list item either": (["-1", "1"], "- 1", None),
    "a label's own marks stay": (["C", "C#", "C++"], "c#.", "C#"),
    "a label's own brackets stay": (["(a)", "(b)"], "(A).", "(a)"),
    "a label is no guess from its letters": (["C#", "Java"], "C", None),
    "labels that differ in case are told apart": (["IT", "it"], "IT", "IT"),
    "but not guessed between": (["IT", "it"], "It", None),
    "labels that differ in a hyphen are told apart": (["e-mail", "e mail"], "E-Mail.", "e-mail"),
    "strict beats loose": (["a b", "a_b"], "A_B", "a_b"),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_is_recognised_or_refused(case: str) -> None:
    labels, text, want = LABELS[case]
    assert normalise(text, label_output(labels)) == want


VALUES: dict[str, tuple[Output, str, str | None]] = {
    "keys are sorted and blanks removed": (JSON, ' {"b": 1, "a": [1, 2]} ', '{"a":[1,2],"b":1}'),
    "a code fence is taken off": (JSON, '```json\n{"a": 1}\n```', '{"a":1}'),
    "a fence without a language too": (JSON, "```\n[1]\n```", "[1]"),
    "whole floats are integers": (JSON, "[1.0, 1e2, -0.0]", "[1,100,0]"),
    "other floats stay": (JSON, "0.10", "0.1"),
    "letters are not escaped": (JSON, '"\\u00e9"', '"é"'),
    "a scalar is a value": (JSON, "null", "null"),
    "text around it": (JSON, 'Here it is: {"a": 1}', None),
    "a repeated key": (JSON, '{"a": 1, "a": 2}', None),
    "not a number": (JSON, "NaN", None),
    "a number beyond all floats": (JSON, "1e999", None),
    "half a value": (JSON, '{"a": 1', None),
    "nesting without end": (JSON, "[" * 100_000 + "]" * 100_000, None),
    "half a surrogate pair": (JSON, '"\\ud800"', None),
    "nothing": (JSON, "", None),
    "a value of the schema": (ROUTE, '{"route": "a"}', '{"route":"a"}'),
    "null where the schema names it": (ROUTE, '{"route": null}', '{"route":null}'),
    "a value outside the schema": (ROUTE, '{"route": "b"}', None),
    "a missing key": (ROUTE, "{}", None),
}


@pytest.mark.parametrize("case", VALUES)
def test_json_has_one_form(case: str) -> None:
    output, text, want = VALUES[case]
    assert normalise(text, output) == want


def test_text_is_stripped_and_never_empty() -> None:
    assert [normalise(text, TEXT) for text in (" a  b\n", " \n", "", "\ud800")] == ["a  b", None, None, None]


EQUALS: dict[str, tuple[str | None, str | None, Output, bool]] = {
    "labels in different dress": ("Bug.", "bug", label_output(TICKETS), True),
    "different labels": ("bug", "billing", label_output(TICKETS), False),
    "two texts that are no labels": ("none", "none", label_output(TICKETS), False),
    "objects in another order": ('{"a":1,"b":2}', '{"b":2.0,"a":1}', JSON, True),
    "one text is missing": (None, "bug", label_output(TICKETS), False),
    "both texts are missing": (None, None, TEXT, False),
}


@pytest.mark.parametrize("case", EQUALS)
def test_equality(case: str) -> None:
    a, b, output, want = EQUALS[case]
    assert equal(a, b, output) is want


def test_a_schema_that_refers_to_itself_for_ever_accepts_nothing() -> None:
    assert normalise("1", Output(format="json", schema={"$ref": "#"})) is None


label_lists = st.lists(st.text("aB1 -_#.é(", min_size=1, max_size=6), min_size=2, max_size=5, unique=True)
decorations = st.text(' \n"*_`.#-()', max_size=4)


@given(label_lists, st.text())
def test_any_text_becomes_a_label_of_the_list_or_none(labels: list[str], text: str) -> None:
    answer = normalise(text, label_output(labels))
    assert answer is None or answer in labels


@given(label_lists)
def test_every_label_is_its_own_normal_form(labels: list[str]) -> None:
    assert [normalise(label, label_output(labels)) for label in labels] == labels


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=2, unique=True), st.data())
def test_plain_labels_survive_any_decoration(labels: list[str], data: st.DataObject) -> None:
    label = data.draw(st.sampled_from(labels))
    text = data.draw(decorations) + label.title() + data.draw(decorations)
    assert normalise(text, label_output(labels)) in (label, None)


@given(st.text())
def test_text_is_normal_after_one_pass(text: str) -> None:
    answer = normalise(text, TEXT)
    assert answer is None or normalise(answer, TEXT) == answer


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.sampled_from([None, 1, 3]))
def test_json_is_normal_after_one_pass_and_keeps_its_value(value: Any, indent: int | None) -> None:
    answer = normalise(json.dumps(value, indent=indent), JSON)
    assert answer is not None
    assert normalise(answer, JSON) == answer
    assert json.loads(answer) == value


@given(st.text('{}[]",:0123456789.eE+-truefalsn` \n'))
def test_any_text_is_json_or_not_without_an_error(text: str) -> None:
    answer = normalise(text, JSON)
    assert answer is None or normalise(answer, JSON) == answer

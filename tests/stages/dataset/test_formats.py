"""What rows of each format become."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distillery.stages.dataset.formats import Conversation, reader_of
from distillery.stages.dataset.inputs import Inputs
from distillery.stages.dataset.spec import DatasetParams
from distillery.stages.dataset.templates import Template


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("template", "row", "want"),
    [
        ("{a}", {"a": "text"}, "text"),
        ("{a}\n{b}", {"a": "one", "b": "two"}, "one\ntwo"),
        ("{{{a}}} and {{a}}", {"a": "x"}, "{x} and {a}"),
        ("{a.b}", {"a": {"b": "inner"}}, "inner"),
        ("{a.b}", {"a.b": "literal", "a": {"b": "inner"}}, "literal"),
        ("{a.b.c}", {"a.b": {"c": "mixed"}}, "mixed"),
        ("{ a }", {"a": "blanks"}, "blanks"),
        ("{a}|{b}|{c}|{d}", {"a": 1, "b": True, "c": 2.5, "d": None}, "1|true|2.5|"),
        ("{a}", {"a": {"z": [1, "é"], "b": None}}, '{"b":null,"z":[1,"é"]}'),
        ("{a b}", {"a b": "a name with a blank"}, "a name with a blank"),
    ],
)
def test_a_template_inserts_columns(template: str, row: dict[str, Any], want: str) -> None:
    assert Template.parse(template).render(row) == want


@pytest.mark.parametrize(
    ("format", "prompt", "row", "want"),
    [
        ("plain", None, {"text": "hi"}, Conversation([user("hi")])),
        ("chat", None, {"messages": [user("hi")]}, Conversation([user("hi")])),
        ("chat", None, {"messages": [user("hi"), assistant("ho")]}, Conversation([user("hi")], "ho")),
        ("chat", None, {"messages": [user("hi"), assistant("")]}, Conversation([user("hi")])),
        (
            "chat",
            None,
            {"messages": [system("s"), user("a"), assistant("b"), user("c"), assistant("d")]},
            Conversation([system("s"), user("a"), assistant("b"), user("c")], "d"),
        ),
        (
            "chat",
            "Be kind.",
            {"messages": [system("Be kind.\n"), user("a")]},
            Conversation([user("a")]),
        ),
        (
            "chat",
            None,
            {"messages": [{"role": "user", "content": "a", "name": "bob", "weight": 1}]},
            Conversation([user("a")]),
        ),
        ("prompt-completion", None, {"prompt": "hi"}, Conversation([user("hi")])),
        ("prompt-completion", None, {"prompt": "hi", "completion": "ho"}, Conversation([user("hi")], "ho")),
        (
            "prompt-completion",
            None,
            {"prompt": [system("s"), user("hi")], "completion": [assistant("ho")]},
            Conversation([system("s"), user("hi")], "ho"),
        ),
    ],
)
def test_a_row_becomes_messages_and_perhaps_an_answer(
    format: Any, prompt: str | None, row: dict[str, Any], want: Conversation
) -> None:
    assert reader_of(format, "{text}", prompt)(row) == want


@pytest.mark.parametrize(
    ("output", "value", "want"),
    [
        ({"format": "label", "labels": ["billing", "login"]}, " **Billing**. ", "billing"),
        ({"format": "label", "labels": ["1", "2"]}, 1, "1"),
        ({"format": "json"}, {"b": 1.0, "a": "é"}, '{"a":"é","b":1}'),
        ({"format": "json"}, '{"b": 1, "a": 2}', '{"a":2,"b":1}'),
        ({"format": "text"}, " an answer\n", "an answer"),
        ({"format": "text"}, None, None),
        ({"format": "text"}, "", None),
    ],
)
def test_references_are_stored_in_normal_form(
    inputs_of: Callable[..., Inputs], output: dict[str, Any], value: object, want: str | None
) -> None:
    rows = [{"text": f"row {number}", "answer": value} for number in range(60)]
    inputs = inputs_of(rows, reference="answer", output=output)
    assert {row["reference"] for row in inputs.rows} == {want}


def test_a_reference_column_wins_over_the_answer_in_the_row(inputs_of: Callable[..., Inputs]) -> None:
    rows = [
        {"prompt": f"row {number}", "completion": "from the log", "gold": "checked" if number % 2 else None}
        for number in range(60)
    ]
    inputs = inputs_of(rows, "prompt-completion", input=None, reference="gold")
    want = {f"row {number}": "checked" if number % 2 else "from the log" for number in range(60)}
    assert {row["messages"][0]["content"]: row["reference"] for row in inputs.rows} == want


def test_marks_line_ends_and_blank_lines_of_other_systems_are_accepted(
    tmp_path: Path,
    make_params: Callable[..., DatasetParams],
    build_params: Callable[[DatasetParams], Inputs],
) -> None:
    lines = [json.dumps({"text": f"row {number}"}) for number in range(60)]
    unix, windows = tmp_path / "unix.jsonl", tmp_path / "windows.jsonl"
    unix.write_text("\n".join(lines))
    windows.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode() + b"\r\n")
    one, other = (build_params(make_params([{"uri": f"file://{path}"}])) for path in (unix, windows))
    assert one.rows == other.rows
    assert len(one.rows) == 60

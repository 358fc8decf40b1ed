"""Bad data, one case a line: what the file holds, and the whole message. {f} is the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from distillery.errors import SpecError
from distillery.stages.dataset.inputs import Inputs
from distillery.stages.dataset.spec import DatasetParams

GOOD = [{"text": f"row number {number}", "id": number} for number in range(60)]
LABELS = {"format": "label", "labels": ["billing", "login", "feature request"]}
CHAT = {"format": "chat", "input": None}
PAIRS = {"format": "prompt-completion", "input": None}


@dataclass(frozen=True)
class Case:
    """Lines that stand after the good rows' 60 lines, and what `SpecError` says."""

    lines: list[Any] | bytes
    want: list[str]
    fields: dict[str, Any] = field(default_factory=dict)
    alone: bool = False


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


CASES: dict[str, Case] = {
    "bad JSON": Case(
        b'{"text": "a"}\n{"text" "b"}\n',
        ["{f}:2: not valid JSON: Expecting ':' delimiter at column 9 → write one JSON object per line"],
        alone=True,
    ),
    "a line cut off": Case(
        b'{"text": "a"}\n{"te',
        ["{f}:2: not valid JSON: Unterminated string starting at column 2 → write one JSON object per line"],
        alone=True,
    ),
    "NaN": Case(
        b'{"text": NaN}\n', ["{f}:1: not valid JSON: NaN is not JSON → write a number or null"], alone=True
    ),
    "an array over many lines": Case(
        b'[\n{"text": "a"},\n{"text": "b"}\n]\n',
        [
            "{f}:1: not valid JSON: Expecting value at column 2"
            " → one JSON object per line; jq -c '.[]' makes them of an array",
            "{f}:2: not valid JSON: Extra data at column 14 → write one JSON object per line",
            "{f}:4: not valid JSON: Expecting value at column 1 → write one JSON object per line",
        ],
        alone=True,
    ),
    "an array on one line": Case(
        b'[{"text": "a"}]\n',
        [
            "{f}:1: the line is an array, not an object → write one object per line; jq -c '.[]' unpacks an array"
        ],
        alone=True,
    ),
    "a number": Case(
        b'{"text": "a"}\n\n17\n',
        ["{f}:3: the line is a number, not an object → write one object per line"],
        alone=True,
    ),
    "a nesting bomb": Case(
        b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
        ["{f}:1: the row is nested too deeply → flatten it"],
        alone=True,
    ),
    "half a surrogate pair": Case(
        b'{"text": "a\\ud83d"}\n',
        [
            "{f}:1: holds half of a surrogate pair (\\ud800 to \\udfff), which is not text"
            " → write the whole character or remove it"
        ],
        alone=True,
    ),
    "invalid UTF-8": Case(
        b'{"text": "ok"}\n{"text": "caf\xe9"}\n',
        [
            "{f}:2: byte 14 of the line (0xe9) is not valid UTF-8"
            " → save the file as UTF-8, for example with iconv -f latin1 -t utf-8"
        ],
        alone=True,
    ),
    "a compressed file": Case(
        b"\x1f\x8b\x08\x00binary\n\xff\xfe\n",
        ["{f}:1: this is gzip-compressed: decompress it first (gunzip) → sources are JSONL in UTF-8"],
        alone=True,
    ),
    "UTF-16": Case(
        '\ufeff{"text": "a"}\n'.encode("utf-16-le"),
        ["{f}:1: this is UTF-16 text: convert it with iconv -f utf-16 -t utf-8 → sources are JSONL in UTF-8"],
        alone=True,
    ),
    "a row of 10 MB": Case(
        b'{"text": "a"}\n{"text": "' + b"x" * 10_000_000 + b'"}\n',
        [
            "{f}:2: the row has 10,000,012 bytes, more than the limit of 1,048,576"
            " → shorten or remove it; is a newline missing?"
        ],
        alone=True,
    ),
    "an empty file": Case(b"", ["{f}: the file has no rows → write one JSON object per line"], alone=True),
    "blank lines only": Case(
        b"\n  \r\n\n", ["{f}: the file has no rows → write one JSON object per line"], alone=True
    ),
    "a missing column": Case(
        [{"txt": "hello", "id": 1}],
        [
            "{f}:61: no column 'text', which spec.dataset.input inserts"
            " → did you mean 'txt'? the row has: txt, id"
        ],
    ),
    "a missing nested column": Case(
        [{"text": "a", "customer": {"lang": "de"}}],
        [
            "{f}:1: no column 'customer.land', which spec.dataset.input inserts"
            " → did you mean 'customer.lang'? the row has: text, customer, customer.lang"
        ],
        {"input": "{text} {customer.land}"},
        alone=True,
    ),
    "an empty object": Case(
        [{}], ["{f}:61: no column 'text', which spec.dataset.input inserts → the row has: no columns"]
    ),
    "an empty input": Case(
        [{"text": " \t"}, {"text": None}],
        [
            "{f}:61: the input is empty: text is empty → fill or remove the row",
            "{f}:62: the input is empty: text is empty → fill or remove the row",
        ],
    ),
    "a chat file declared plain": Case(
        [{"messages": [user("hi")]}],
        ["{f}:61: no column 'text', but `messages`: this looks like a chat file → set format: chat"],
    ),
    "a prompt-completion file declared plain": Case(
        [{"prompt": "hi", "completion": "ho"}],
        [
            "{f}:61: no column 'text', but `prompt` and `completion`: this looks like a prompt-completion file"
            " → set format: prompt-completion"
        ],
    ),
    "a plain file declared chat": Case(
        [{"text": "hi"}],
        ["{f}:1: no `messages`, which chat rows have → the row has: text; for such rows set format: plain"],
        CHAT,
        alone=True,
    ),
    "ShareGPT declared chat": Case(
        [{"conversations": [{"from": "human", "value": "hi"}]}],
        [
            "{f}:1: no `messages`, which chat rows have"
            " → ShareGPT's `conversations` must be converted to `messages`"
        ],
        CHAT,
        alone=True,
    ),
    "a chat file declared prompt-completion": Case(
        [{"messages": [user("hi")]}],
        ["{f}:1: no `prompt`, which prompt-completion rows have → it has `messages`: set format: chat"],
        PAIRS,
        alone=True,
    ),
    "a prompt that is a number": Case(
        [{"prompt": 3}], ["{f}:1: `prompt` is neither text nor a list of messages"], PAIRS, alone=True
    ),
    "an unknown role": Case(
        [{"messages": [{"role": "human", "content": "hi"}]}],
        ["{f}:1: message 1 has role 'human' → did you mean 'user'? roles: system, user, assistant"],
        CHAT,
        alone=True,
    ),
    "a system message in the middle": Case(
        [{"messages": [user("hi"), {"role": "system", "content": "x"}, user("ho")]}],
        ["{f}:1: message 2 is a system message → it can only be the first"],
        CHAT,
        alone=True,
    ),
    "content in parts": Case(
        [{"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}],
        ["{f}:1: the content of message 1 is a list of parts → write the content as one text"],
        CHAT,
        alone=True,
    ),
    "a tool call": Case(
        [{"messages": [user("hi"), {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}],
        ["{f}:1: message 2 calls a tool → only text conversations can be distilled"],
        CHAT,
        alone=True,
    ),
    "a message without content": Case(
        [{"messages": [{"role": "user"}]}],
        ['{f}:1: message 1 lacks role or content → write {"role": "user", "content": "…"}'],
        CHAT,
        alone=True,
    ),
    "no messages": Case(
        [{"messages": []}],
        ['{f}:1: `messages` is empty → write [{"role": "user", "content": "…"}]'],
        CHAT,
        alone=True,
    ),
    "only an answer": Case(
        [{"messages": [{"role": "assistant", "content": "hi"}]}],
        ["{f}:1: no user message before the answer → the last message but an answer is the user's"],
        CHAT,
        alone=True,
    ),
    "an empty user message": Case(
        [{"messages": [user("  ")]}],
        ["{f}:1: the last user message is empty → fill or remove the row"],
        CHAT,
        alone=True,
    ),
    "a system message against the task's": Case(
        [{"messages": [{"role": "system", "content": "Be rude."}, user("hi")]}],
        [
            "{f}:1: the row's system message ('Be rude.') differs from spec.task.systemPrompt"
            " → keep one of them: remove spec.task.systemPrompt, or the rows' own system messages"
        ],
        CHAT | {"systemPrompt": "Be polite."},
        alone=True,
    ),
    "a repeated id": Case(
        [{"text": "something else", "id": 7}],
        [
            "{f}:61: the id '7' was already used with other content at {f}:8"
            " → ids are unique; without spec.dataset.id the content names rows"
        ],
        {"id": "id"},
    ),
    "no id": Case(
        [{"text": "x"}, {"text": "y", "id": None}],
        [
            "{f}:61: no column 'id', which spec.dataset.id names → the row has: text",
            "{f}:62: the id 'id' is null"
            " → an id is text or a whole number; without spec.dataset.id the content names the row",
        ],
        {"id": "id"},
    ),
    "ids that are no names": Case(
        [{"text": "x", "id": True}, {"text": "y", "id": 1.5}, {"text": "z", "id": " "}],
        [
            "{f}:61: the id 'id' is true"
            " → an id is text or a whole number; without spec.dataset.id the content names the row",
            "{f}:62: the id 'id' is 1.5"
            " → an id is text or a whole number; without spec.dataset.id the content names the row",
            "{f}:63: the id 'id' is empty"
            " → an id is text or a whole number; without spec.dataset.id the content names the row",
        ],
        {"id": "id"},
    ),
    "an unknown label": Case(
        [{"text": "x", "label": "Billing"}, {"text": "y", "label": "bilings"}],
        [
            "{f}:62: the reference 'bilings' is no label of the task"
            " → did you mean 'billing'? labels: billing, login, feature request"
        ],
        {"reference": "label", "output": LABELS},
    ),
    "an answer that is no label": Case(
        [{"prompt": "x", "completion": "Certainly! It is about billing or so."}],
        [
            "{f}:1: the reference 'Certainly! It is about billing or so.' is no label of the task"
            " → labels: billing, login, feature request"
        ],
        PAIRS | {"output": LABELS},
        alone=True,
    ),
    "a reference that is no JSON": Case(
        [{"text": "x", "answer": "{'a': 1}"}],
        [
            "{f}:61: the reference \"{'a': 1}\" is not valid JSON"
            " → write the answer that the teacher should give, as JSON"
        ],
        {"reference": "answer", "output": {"format": "json"}},
    ),
    "a reference against the schema": Case(
        [{"text": "x", "answer": {"a": "1"}}],
        [
            '{f}:61: the reference \'{"a":"1"}\' is not JSON that fits the schema'
            " → write the answer that the teacher should give, as JSON"
        ],
        {
            "reference": "answer",
            "output": {"format": "json", "schema": {"properties": {"a": {"type": "integer"}}}},
        },
    ),
    "a slice by objects": Case(
        [{"text": "x", "tag": {"a": 1}}],
        [
            "{f}:61: column 'tag' holds an object or array, which cannot name a slice of 'tags'"
            " → slice by a column of short texts or numbers"
        ],
        {"slices": [{"name": "tags", "byColumn": "tag"}]},
    ),
    "columns that no row has": Case(
        [],
        [
            "spec.dataset.reference: none of the 60 rows has a column 'labl' → columns: text, id",
            "spec.dataset.groupBy: none of the 60 rows has a column 'texts'"
            " → did you mean 'text'? columns: text, id",
            "spec.dataset.slices[0].where.lang: none of the 60 rows has a column 'lang' → columns: text, id",
            "spec.dataset.slices[1].byColumn: none of the 60 rows has a column 'kind' → columns: text, id",
        ],
        {
            "reference": "labl",
            "groupBy": "texts",
            "slices": [{"name": "german", "where": {"lang": "de"}}, {"name": "kind", "byColumn": "kind"}],
        },
    ),
    "a slice by id": Case(
        [{"text": f"t{number}", "id": number} for number in range(100, 1100)],
        [
            "spec.dataset.slices[0].byColumn: column 'id' has more than 1,000 different values"
            " → slice by a column whose values have many rows each"
        ],
        {"slices": [{"name": "id", "byColumn": "id"}]},
    ),
    "plain rows without a template": Case(
        [],
        [
            "spec.dataset.input: plain rows need a template for the user message"
            " → write the columns to insert, for example {text}"
        ],
        {"input": None},
    ),
    "a lone brace": Case(
        [],
        [
            "spec.dataset.input: a lone '{' at character 7 of '{text}{'"
            " → write {column}, and {{ or }} for a brace itself"
        ],
        {"input": "{text}{"},
    ),
    "a template without columns": Case(
        [],
        ["spec.dataset.input: 'the text' names no column → write the columns to insert, for example {text}"],
        {"input": "the text"},
    ),
    "an empty column name": Case(
        [],
        ["spec.dataset.input: '{text} {}' has an empty {} → write the columns to insert, for example {text}"],
        {"input": "{text} {}"},
    ),
    "too few rows for three splits": Case(
        [{"text": "only one"}],
        [
            "spec.dataset.split: none of the 1 distinct rows fell into the validation split"
            " (share 0.05, seed 17) → add distinct rows, or give validation a larger share",
            "spec.dataset.split: none of the 1 distinct rows fell into the test split"
            " (share 0.1, seed 17) → add distinct rows, or give test a larger share",
        ],
        alone=True,
    ),
    "one group": Case(
        [{"text": f"row {number}", "thread": "t"} for number in range(50)],
        [
            "spec.dataset.split: none of the 1 groups fell into the validation split (share 0.05, seed 17)"
            " → add groups, or give validation a larger share",
            "spec.dataset.split: none of the 1 groups fell into the test split (share 0.1, seed 17)"
            " → add groups, or give test a larger share",
        ],
        {"groupBy": "thread"},
        alone=True,
    ),
    "rows that are all alike": Case(
        [{"text": f"the same text again and again and again number {number}"} for number in range(50)],
        [
            "spec.dataset.deduplicate.near: every row of the train split is a near-duplicate of a row"
            " of another one → raise it, or add other rows",
            "spec.dataset.deduplicate.near: every row of the validation split is a near-duplicate of a row"
            " of another one → raise it, or add other rows",
        ],
        {"deduplicate": {"near": 0.5}},
        alone=True,
    ),
    "a number beyond all floats": Case(
        b'{"text": "a", "n": 1e999}\n',
        ["{f}:1: holds a number that is too large → write it as text"],
        {"input": "{text} {n}"},
        alone=True,
    ),
    "a file of deep objects": Case(
        b'{"text": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}\n",
        ["{f}:1: no column 'body', which spec.dataset.input inserts → the row has: text, text.a, text.a.a"],
        {"input": "{body}"},
        alone=True,
    ),
    "oversampling a slice that is none": Case(
        [],
        [
            "spec.dataset.oversample.slices[0]: 'kinds' is no slice"
            " → did you mean 'kind'? byColumn slices: kind",
            "spec.dataset.oversample.slices[1]: 'german' has no byColumn → byColumn slices: kind",
        ],
        {
            "slices": [{"name": "kind", "byColumn": "id"}, {"name": "german", "where": {"id": 3}}],
            "oversample": {"slices": ["kinds", "german"]},
        },
    ),
}


def content(case: Case) -> bytes:
    if isinstance(case.lines, bytes):
        return case.lines
    rows = case.lines if case.alone else [*GOOD, *case.lines]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("name", CASES)
def test_bad_data_is_told_with_file_line_and_repair(
    name: str,
    tmp_path: Path,
    make_params: Callable[..., DatasetParams],
    build_params: Callable[[DatasetParams], Inputs],
) -> None:
    case = CASES[name]
    path = tmp_path / "tickets.jsonl"
    path.write_bytes(content(case))
    source = {"uri": f"file://{path}", "format": case.fields.get("format", "plain")}
    fields = {key: value for key, value in case.fields.items() if key != "format"}
    with pytest.raises(SpecError) as caught:
        build_params(make_params([source], **fields))
    assert str(caught.value).splitlines() == [line.replace("{f}", str(path)) for line in case.want]


def test_at_most_twenty_problems_are_told_and_repeated_ones_are_counted(
    tmp_path: Path,
    make_params: Callable[..., DatasetParams],
    build_params: Callable[[DatasetParams], Inputs],
) -> None:
    sources = []
    for number in range(9):
        path = tmp_path / f"{number}.jsonl"
        path.write_text('{"txt": "x"}\n' * 100 + "{\n")
        sources.append({"uri": f"file://{path}"})
    with pytest.raises(SpecError) as one:
        build_params(make_params(sources[:1]))
    with pytest.raises(SpecError) as many:
        build_params(make_params(sources))
    path = tmp_path / "0.jsonl"
    missing = "no column 'text', which spec.dataset.input inserts → did you mean 'txt'? the row has: txt"
    assert str(one.value).splitlines() == [
        f"{path}:1: {missing}",
        f"{path}:2: {missing}",
        f"{path}:3: {missing}",
        f"{path}:101: not valid JSON: Expecting property name enclosed in double quotes at column 2"
        " → one JSON object per line; jq -c '.[]' makes them of an array",
        f"{path}: 97 more rows with no column 'text'",
    ]
    assert len(many.value.problems) == 20


def test_a_huge_value_does_not_flood_the_message(
    tmp_path: Path,
    make_params: Callable[..., DatasetParams],
    build_params: Callable[[DatasetParams], Inputs],
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "a", "label": "x" * 100_000}))
    with pytest.raises(SpecError) as caught:
        build_params(make_params([{"uri": f"file://{path}"}], reference="label", output=LABELS))
    assert len(str(caught.value)) < 400

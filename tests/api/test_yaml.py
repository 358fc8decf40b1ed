from __future__ import annotations

import contextlib
import math
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.api.yaml import MAX_BYTES, dump_yaml, load_document, load_value, load_yaml
from distillery.errors import SpecError

VALUES: dict[str, Any] = {
    "1e-4": 1e-4,
    "2.0e-4": 2e-4,
    "1E3": 1000.0,
    ".5": 0.5,
    "-7": -7,
    "0o17": 15,
    "0x1f": 31,
    "007": 7,
    "1_000": "1_000",
    "12:30": "12:30",
    "2026-11-03": "2026-11-03",
    "2026-11-03T12:30:00Z": "2026-11-03T12:30:00Z",
    "on": "on",
    "yes": "yes",
    "No": "No",
    "true": True,
    "FALSE": False,
    "null": None,
    "~": None,
    "": None,
    "'1'": "1",
    '"true"': "true",
    "!!str 1": "1",
    "!!float 1": 1.0,
    "!!int 1": 1,
    "!!seq [1]": [1],
    "!!map {a: 1}": {"a": 1},
    "! 1": "1",
    "=": "=",
    "1.2.3": "1.2.3",
    "{text}": {"text": None},
    "[a, 'b', 1]": ["a", "b", 1],
}


@pytest.mark.parametrize("text", VALUES)
def test_scalars_mean_what_yaml_1_2_says(text: str) -> None:
    value = load_value(text, "--set")
    assert (value, type(value)) == (VALUES[text], type(VALUES[text]))


def test_the_version_directive_changes_nothing() -> None:
    assert load_yaml("%YAML 1.1\n---\na: yes\nb: 1:30\n", "job.yaml") == {"a": "yes", "b": "1:30"}


def test_a_byte_order_mark_and_crlf_are_accepted() -> None:
    assert load_yaml(b"\xef\xbb\xbfa: 1\r\nb: \xc3\xa4\r\n", "job.yaml") == {"a": 1, "b": "ä"}


def test_aliases_give_equal_but_separate_values() -> None:
    data = load_yaml("a: &x {k: [1]}\nb: *x\n", "job.yaml")
    data["a"]["k"].append(2)
    assert data == {"a": {"k": [1, 2]}, "b": {"k": [1]}}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)

CHAIN = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} {'[' * 30}*a{n - 1}{']' * 30}\n" for n in range(1, 40))
"""Each is a little deep, together they are far deeper than anything that recurses can follow."""

REFUSED: dict[str, tuple[bytes | str, str]] = {
    "an empty file": ("", "job.yaml: the file is empty → write one object"),
    "a file of comments": ("# nothing\n", "job.yaml: the file is empty → write one object"),
    "an empty document": ("---\n...\n", "job.yaml: the file is empty → write one object"),
    "a list": ("- 1", "job.yaml:1: the file holds a list, not a mapping → write one object"),
    "a word": ("\nyes", "job.yaml:2: the file holds a single value, not a mapping → write one object"),
    "two documents": (
        "a: 1\n---\nb: 2\n",
        "job.yaml:2: a second document begins here (`---`) → write one object per file",
    ),
    "a key twice": (
        "a: {b: 1,\n b: 2}",
        "job.yaml:2: the key 'b' is written twice, first in line 1 → keep one of them",
    ),
    "a key twice in quotes": (
        "a: 1\n'a': 2",
        "job.yaml:2: the key 'a' is written twice, first in line 1 → keep one of them",
    ),
    "a number as a key": ("1: a", "job.yaml:1: the key '1' is not text → put it in quotes"),
    "null as a key": ("a: {~: b}", "job.yaml:1: the key '~' is not text → put it in quotes"),
    "a list as a key": ("? [a]\n: b", "job.yaml:1: a key is not text → put it in quotes"),
    "a merge key": (
        "a: &a {x: 1}\nb: {<<: *a}",
        "job.yaml:2: merge keys (`<<`) are not part of YAML 1.2 → write the fields out, or use an alias for a "
        "whole value",
    ),
    "a tab": ("a:\n\tb: 1", "job.yaml:2:1: a tab stands where only spaces may → indent with spaces"),
    "a colon in a value": (
        "a: b: c",
        "job.yaml:1:5: a ':' stands where no field can begin → put a value that contains ': ' in quotes, or check "
        "the indentation",
    ),
    "an open quote": (
        "a: 'b\n\nc: d\n",
        "job.yaml:4:1: the quoted text never ends (what it belongs to begins in line 1) → close the quotes",
    ),
    "an open bracket": (
        "a: [1,\n",
        "job.yaml:2:1: the file ends in the middle of a value → close what is open",
    ),
    "a bracket too many": (
        "a: {b}}",
        "job.yaml:1:7: a '}' closes nothing → remove it, or put the value in quotes",
    ),
    "a missing comma": (
        "a: {b: 1 c: 2}",
        "job.yaml:1:11: a ',' or '}' is missing → close the bracket, or put a comma between the values",
    ),
    "a missing colon": (
        "a: 1\nb 2\nc: 3",
        "job.yaml:3:1: a ':' is missing (what it belongs to begins in line 2) → write `field: value`",
    ),
    "a sign that begins no value": (
        "a: @b",
        "job.yaml:1:4: a value cannot begin with '@' → put the value in quotes",
    ),
    "a list where a value is": (
        "a: - b",
        "job.yaml:1:4: a list begins where a value stands → put each `- item` on a line of its own",
    ),
    "a wrong indentation": (
        "a:\n  b: 1\n c: 2",
        "job.yaml:3:2: this line does not belong where it stands (what it belongs to begins in line 1) → indent it "
        "as its neighbours are",
    ),
    "an unknown escape": (
        'a: "\\q"',
        "job.yaml:1:6: an escape in double quotes is unknown → double the backslash",
    ),
    "text after the object": (
        "{a: 1} b",
        "job.yaml:1:8: text follows after the end of the object → remove it, or indent it",
    ),
    "an alias without an anchor": (
        "a: *b",
        "job.yaml:1: *b is used, but no finished value before it is called &b → define it first, or put the value "
        "in quotes",
    ),
    "an alias within its own anchor": (
        "a: &b [*b]",
        "job.yaml:1: *b is used, but no finished value before it is called &b → define it first, or put the value "
        "in quotes",
    ),
    "a tag that would build an object": (
        "a: !!python/object/apply:os.system [x]",
        "job.yaml:1: the tag !!python/object/apply:os.system is not allowed here → remove it",
    ),
    "a tag of the user's": ("a: !secret x", "job.yaml:1: the tag !secret is not allowed here → remove it"),
    "a tag of bytes": ("a: !!binary eA==", "job.yaml:1: the tag !!binary is not allowed here → remove it"),
    "a tag that does not fit": (
        "a: !!int x",
        "job.yaml:1: 'x' is no value of the tag !!int → remove the tag",
    ),
    "infinity": (
        "a: .inf",
        "job.yaml:1: .inf is not a finite number → write a number, or quotes around a text",
    ),
    "a number too large": (
        "a: 1e999",
        "job.yaml:1: 1e999 is too large for a number → put it in quotes if it is a text",
    ),
    "a number too long": (
        "a: " + "1" * 5000,
        "job.yaml:1: a number of 5000 characters → put it in quotes if it is a text",
    ),
    "values nested too deep": (
        "a: " + "[" * 90 + "]" * 90,
        "job.yaml:1: values are nested more than 80 deep → flatten them",
    ),
    "aliases that multiply": (
        BOMB,
        "job.yaml:5: the file holds more than 50,000 values once its aliases are followed → use fewer aliases",
    ),
    "aliases that make a text long": (
        f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 50)}]",
        "job.yaml:2: the file holds more than 4,194,304 characters once its aliases are followed → use fewer aliases",
    ),
    "aliases of keys that make a text long": (
        f"a: &a {{{'x' * 1000}: 1}}\nb: [{', '.join(['*a'] * 5000)}]",
        "job.yaml:2: the file holds more than 4,194,304 characters once its aliases are followed → use fewer aliases",
    ),
    "aliases that nest": (CHAIN, "job.yaml:4: values are nested more than 80 deep → flatten them"),
    "aliases that nest in mappings": (
        CHAIN.replace("[", "{k: ").replace("]", "}"),
        "job.yaml:4: values are nested more than 80 deep → flatten them",
    ),
    "too many bytes": (
        "a" * (MAX_BYTES + 1),
        "job.yaml: the file has 1,048,577 bytes, more than the limit of 1,048,576 → keep data out of the manifest",
    ),
    "bytes that are no UTF-8": (
        b"a: 1\nb: \xff",
        "job.yaml:2: byte 0xff is not valid UTF-8 → save the file as UTF-8",
    ),
    "UTF-16": ("a: 1".encode("utf-16"), "job.yaml: this is UTF-16 text → save the file as UTF-8"),
    "a NUL byte": (
        b"a: 1\nb: x\x00y",
        "job.yaml:2: the character U+0000 is not allowed → remove it; is this a text file?",
    ),
    "an escaped NUL": (
        'a: "x\\0"',
        "job.yaml:1: the character U+0000 is not allowed in a text → remove its escape",
    ),
    "half a character": (
        'a: "\\ud800"',
        "job.yaml:1: the character U+D800 is not allowed in a text → remove its escape",
    ),
    "an escape beyond Unicode": (
        'a: "\\U00110000"',
        "job.yaml: this is not YAML: chr() arg not in range(0x110000) → check the escapes and directives",
    ),
    "a long tag": (
        "a: " + "!" * 1_000_000,
        "job.yaml:1:4: a tag is not allowed here → remove the tag, or put the value in quotes",
    ),
    "YAML 2": ("%YAML 2.0\n---\na: 1", "job.yaml:1:1: the version in %YAML is not 1.x → remove the line"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_manifest_is_refused_with_its_place(name: str) -> None:
    text, want = REFUSED[name]
    with pytest.raises(SpecError) as caught:
        load_yaml(text, "job.yaml")
    assert str(caught.value) == want


def test_lines_of_fields_are_known() -> None:
    text = "a:\n  b:\n  - c: 1\n    d: &x\n      e: 2\n  - *x\nf: {g: [1,\n 2]}\n"
    document = load_document(text, "job.yaml")
    paths: list[list[str | int]] = [
        [], ["a"], ["a", "b"], ["a", "b", 0], ["a", "b", 0, "d"], ["a", "b", 0, "d", "e"],
        ["a", "b", 1, "e"], ["a", "b", 7], ["a", "nowhere", "x"], ["f", "g", 0], ["f", "g", 1],
    ]  # fmt: skip
    assert [document.line_of(path) for path in paths] == [1, 1, 2, 3, 4, 5, 5, 2, 1, 7, 8]


@pytest.mark.parametrize(
    "text",
    ["a: " + "[" * 500_000, "- " * 500_000, "? " * 500_000, "{" * 900_000, "a:\n" * 300_000, "&a " * 300_000,
     "a: '" + "''" * 500_000, "#" * 1_000_000, "\n" * 1_000_000, "a: " + "x " * 500_000, "*a " * 300_000,
     "a: |\n" + " x\n" * 300_000, "!" * 1_000_000, "%" * 1_000_000, '"' * 1_000_000],
    ids=lambda text: repr(text[3:9]),
)  # fmt: skip
def test_a_hostile_file_is_settled_soon(text: str) -> None:
    start = time.process_time()
    with contextlib.suppress(SpecError):
        load_yaml(text, "job.yaml")
    assert time.process_time() - start < 10


TEXTS = st.text(max_size=20).filter(lambda text: "\x00" not in text)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**60), 10**60) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS | st.sampled_from(["on", "12:30", "1e-4", "null", "~", "- a", "a: b", "#", "x #y", "0x1", "2026-01-01"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(value=st.dictionaries(TEXTS, JSON, max_size=4))
def test_what_is_dumped_is_loaded_unchanged(value: dict[str, Any]) -> None:
    text = dump_yaml(value)
    assert load_yaml(text.encode(), "status.yaml") == value
    assert dump_yaml(load_yaml(text, "status.yaml")) == text


@settings(max_examples=300, deadline=None)
@given(
    text=st.binary(max_size=80)
    | st.text(max_size=80)
    | st.text("{}[]:-&*!|>'\"%@`#?,. \n\tab01", max_size=80)
)
def test_any_text_is_loaded_or_refused(text: bytes | str) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(load_yaml(text, "job.yaml"), dict)


def test_a_dump_is_easy_to_read() -> None:
    value = {
        "phase": "Running",
        "stages": [{"name": "dataset", "summary": {}, "gates": []}, {"name": "teacher", "rate": 1.5}],
        "nested": [[1, 2], [["a"]]],
        "looksLikeOther": [
            "on",
            "12:30",
            "2026-11-03T10:00:00Z",
            "1.20",
            "",
            " x",
            "a: b",
            "line\nline",
            "é",
        ],
        "plain": ["s3://models/x", "a b", "v1.2", "50 %"],
    }
    assert dump_yaml(value) == (
        "phase: Running\n"
        "stages:\n"
        "- name: dataset\n"
        "  summary: {}\n"
        "  gates: []\n"
        "- name: teacher\n"
        "  rate: 1.5\n"
        "nested:\n"
        "- - 1\n"
        "  - 2\n"
        "- - - a\n"
        "looksLikeOther:\n"
        '- "on"\n'
        '- "12:30"\n'
        '- "2026-11-03T10:00:00Z"\n'
        '- "1.20"\n'
        '- ""\n'
        '- " x"\n'
        '- "a: b"\n'
        '- "line\\nline"\n'
        '- "é"\n'
        "plain:\n"
        '- "s3://models/x"\n'
        "- a b\n"
        "- v1.2\n"
        '- "50 %"\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, {1}, b"x", object()])
def test_what_json_lacks_is_not_dumped(value: object) -> None:
    with pytest.raises(TypeError):
        dump_yaml({"a": value})

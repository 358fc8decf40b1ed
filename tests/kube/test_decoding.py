"""No object that an API server can hold is undecodable, and what is cut is what is too deep for anything valid."""

import asyncio
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.kube.decoding import HEAVY_BYTES, KEPT_DEPTH, decode, decoded, prune, relieved

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS | st.sampled_from(['"', "[", "]{", "\\", '\\"[', "}"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=40,
)


def pruned(value: object, depth: int) -> object:
    """What `prune` must do, on values."""
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {key: pruned(inner, depth - 1) for key, inner in value.items()}
    return [pruned(inner, depth - 1) for inner in value]


def nested(depth: int, shape: str = "mixed") -> bytes:
    """A JSON text of that depth."""
    begin, end = {"lists": ("[", "]"), "maps": ('{"a":', "}"), "mixed": ('[{"b\\"[":', "}]")}[shape]
    count = depth // 2 if shape == "mixed" else depth
    return (begin * count + "1" + end * count).encode()


@given(VALUES, st.booleans())
def test_what_is_written_is_read(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert decode(text) == json.loads(text)


@given(VALUES, st.integers(0, 6), st.sampled_from([None, 1]))
def test_a_pruned_text_is_the_text_of_the_pruned_value(value, depth, indent):
    text = json.dumps(value, indent=indent).encode()
    assert json.loads(prune(text, depth)) == pruned(value, depth)


@given(st.binary(max_size=64) | st.text('[]{}",\\:1an ', max_size=40).map(str.encode))
@settings(max_examples=500)
def test_what_is_no_json_is_a_value_error_and_nothing_else(text):
    try:
        decode(text)
    except ValueError:
        prune(text, 3)


@pytest.mark.parametrize("shape", ["lists", "maps", "mixed"])
@pytest.mark.parametrize("depth", [KEPT_DEPTH, 198, 202, 998, 1500, 9994, 300_000])
def test_any_depth_is_decoded_and_names_and_versions_survive(shape, depth):
    text = b'{"metadata":{"name":"a"},"spec":%s,"status":{"b":[2]}}' % nested(depth, shape)
    document = decode(text)
    assert (document["metadata"], document["status"]) == ({"name": "a"}, {"b": [2]})
    levels, value = 1, document["spec"]
    while isinstance(value, dict | list):
        value = next(iter(value.values() if isinstance(value, dict) else value), None)
        levels += 1
    assert levels == depth + 1 if depth < 200 else levels == KEPT_DEPTH


def test_a_half_text_that_is_deep_is_no_json():
    with pytest.raises(ValueError, match="EOF"):
        decode(b'{"a":' * 5000)


@pytest.mark.parametrize(
    "piece", [b"[" * 9000 + b"]" * 9000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[{}]", b'"[\\"{",']
)
def test_pruning_takes_linear_time(piece):
    def seconds(size: int) -> float:
        text = b"[" * 300 + piece * (size // len(piece)) + b"]" * 300
        started = time.process_time()
        prune(text, KEPT_DEPTH)
        return time.process_time() - started

    seconds(100_000)
    assert seconds(3_200_000) < 16 * max(seconds(800_000), 0.02)


def test_a_heavy_text_is_decoded_while_the_loop_goes_on():
    text = b"[" + b",".join([nested(1500, "maps")] * 150) + b"]"
    assert len(text) > HEAVY_BYTES

    async def beats() -> tuple[int, int]:
        counted = 0

        async def beat() -> None:
            nonlocal counted
            while True:
                await asyncio.sleep(0.005)
                counted += 1

        beating = asyncio.create_task(beat())
        length = await decoded(text, len)
        beating.cancel()
        return length, counted

    length, counted = asyncio.run(beats())
    assert length == 150
    assert counted >= 3


def test_an_object_loses_its_managed_fields_and_nothing_else():
    assert relieved({"metadata": {"name": "a", "managedFields": [{}]}, "spec": {"managedFields": 1}}) == {
        "metadata": {"name": "a"},
        "spec": {"managedFields": 1},
    }
    for other in (None, 1, [], {}, {"metadata": None}, {"metadata": []}):
        assert relieved(other) == other

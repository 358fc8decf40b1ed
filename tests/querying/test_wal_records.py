import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.querying.wal import COMPRESS_FROM, decode_records, encode_record, encode_records

records = st.lists(
    st.dictionaries(st.text(max_size=5), st.text(max_size=50) | st.integers(), max_size=5).map(
        lambda value: json.dumps(value).encode()
    ),
    max_size=8,
)


@settings(max_examples=40)
@given(records)
def test_records_come_back_as_they_went(some):
    assert decode_records(encode_records(some)) == (some, 0)


def test_long_records_are_compressed():
    record = json.dumps({"text": "all work and no play " * 500}).encode()
    assert len(record) > COMPRESS_FROM
    line = encode_record(record)
    assert len(line) < len(record) / 5
    assert decode_records(line) == ([record], 0)


@settings(max_examples=40)
@given(records, st.data())
def test_a_torn_end_costs_only_the_last_record(some, data):
    whole = encode_records(some)
    cut = data.draw(st.integers(0, len(whole)))
    found, damaged = decode_records(whole[:cut])
    assert found == some[: len(found)]
    assert damaged <= 1
    assert len(found) >= whole[:cut].count(b"\n")


@settings(max_examples=40)
@given(records, st.data())
def test_a_flipped_byte_never_yields_a_wrong_record(some, data):
    whole = bytearray(encode_records(some) or b"\n")
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    found, _ = decode_records(bytes(whole))
    assert all(record in some for record in found)
    assert len(found) >= len(some) - 2


@given(st.binary(max_size=300))
def test_garbage_is_never_a_crash(garbage):
    decode_records(garbage)


@pytest.mark.soak
def test_many_mutations_are_never_a_crash():
    rng = random.Random(1)
    whole = encode_records([b'{"a":1}', json.dumps({"t": "x" * 5000}).encode(), b'{"b":"c"}'])
    for _ in range(300_000):
        mutant = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        decode_records(bytes(mutant))

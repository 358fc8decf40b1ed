"""Properties of the whole table: order of rows, added rows, groups, limit, duplicates."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.api.v1alpha1.dataset import Split
from distillery.stages.dataset.audit import audit_of
from distillery.stages.dataset.formats import reader_of
from distillery.stages.dataset.inputs import Inputs, build_inputs
from distillery.stages.dataset.pool import Pool
from distillery.stages.dataset.rows import RowReader
from distillery.stages.dataset.spec import DatasetParams
from distillery.stages.dataset.splits import SPLITS, rank, split_of

WORDS = ["red", "green", "blue", "Red", "cyan"]
BASE = [
    {"text": f"filler {number} {number * 7} end", "id": f"f{number}", "lang": "en"} for number in range(80)
]
"""Enough rows, unlike each other, that no split stays empty."""

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(" ".join)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "text": texts,
            "group": st.sampled_from(["a", "b", "c", None]),
            "lang": st.sampled_from(["de", "en"]),
        }
    ),
    max_size=40,
)
options = st.fixed_dictionaries(
    {},
    optional={
        "groupBy": st.just("group"),
        "limit": st.integers(70, 110),
        "deduplicate": st.fixed_dictionaries({"near": st.sampled_from([0.3, 0.5, 0.8])}),
        "oversample": st.fixed_dictionaries(
            {"slices": st.just(["lang"]), "maxFactor": st.sampled_from([1.5, 4])}
        ),
    },
)


def table(params: DatasetParams, rows: list[dict[str, Any]]) -> Inputs:
    """Build the table from rows in memory; ids are the rows' contents."""
    reader, read = RowReader(params), reader_of("plain", "{text}", None)
    pool = Pool(params.split.seed, params.limit, named=False)
    for line, row in enumerate([*BASE, *rows]):
        pool.add(reader.read({"group": None, **row}, read, (0, line)))
    return build_inputs(pool.finish(), params)


def texts_of(inputs: Inputs) -> set[str]:
    return {row["messages"][0]["content"] for row in inputs.rows}


def slices(fields: dict[str, Any]) -> dict[str, Any]:
    return {"slices": [{"name": "lang", "byColumn": "lang"}], **fields}


@settings(deadline=None, max_examples=60)
@given(rows=rows, fields=options, seed=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(
    make_params: Callable[..., DatasetParams],
    rows: list[dict[str, Any]],
    fields: dict[str, Any],
    seed: random.Random,
) -> None:
    params = make_params(**slices(fields))
    shuffled = list(rows)
    seed.shuffle(shuffled)
    one, other = table(params, rows), table(params, shuffled)
    assert one == other
    assert one.digest == other.digest


@settings(deadline=None, max_examples=60)
@given(rows=rows, more=rows, fields=options)
def test_added_rows_move_none_and_bring_none_back(
    make_params: Callable[..., DatasetParams],
    rows: list[dict[str, Any]],
    more: list[dict[str, Any]],
    fields: dict[str, Any],
) -> None:
    # A limit, or a duplicate from another group, can take away the row that another was too near to.
    if "limit" in fields or "groupBy" in fields:
        fields = {key: value for key, value in fields.items() if key != "deduplicate"}
    params = make_params(**slices(fields))
    before, after = table(params, rows), table(params, rows + more)
    assert texts_of(after) - texts_of(before) <= {row["text"] for row in more}
    old = {row["row_id"]: (row["split"], row["group"]) for row in before.rows}
    new = {row["row_id"]: (row["split"], row["group"]) for row in after.rows if row["row_id"] in old}
    # A duplicate from another group may take the place of a row; then the content goes where that group is.
    assert all(place == old[row_id] for row_id, place in new.items() if place[1] == old[row_id][1])


@settings(deadline=None, max_examples=60)
@given(rows=rows, fields=options)
def test_no_leak_is_left_and_copies_stay_in_training(
    make_params: Callable[..., DatasetParams], rows: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    params = make_params(**slices(fields))
    inputs = table(params, rows)
    near = params.deduplicate.near
    audit = audit_of(inputs.rows, near)
    assert audit["clean"]
    assert (audit["exactDuplicatesAcrossSplits"], audit["groupsAcrossSplits"]) == (0, 0)
    if near is not None:
        counts = {"validationNearTest": 0, "trainNearTest": 0, "trainNearValidation": 0}
        assert audit["nearDuplicatesAcrossSplits"]["rows"] == counts
    assert {row["copies"] for row in inputs.rows if row["split"] != "train"} <= {1}
    assert all(1 <= row["copies"] <= 4 for row in inputs.rows)
    assert len(inputs.rows) <= (params.limit or 1000)
    assert [row["row_id"] for row in inputs.rows] == sorted(row["row_id"] for row in inputs.rows)
    funnel = inputs.funnel
    gone = funnel.duplicates + funnel.beyond_limit + sum(funnel.near_duplicates.values())
    assert funnel.read == len(BASE) + len(rows) == len(inputs.rows) + gone


@settings(deadline=None)
@given(
    keys=st.sets(st.text(min_size=1), min_size=1, max_size=30),
    seed=st.integers(0, 9),
    test=st.floats(0.05, 0.4),
    validation=st.floats(0.05, 0.4),
)
def test_a_larger_validation_share_takes_rows_from_training_only(
    keys: set[str], seed: int, test: float, validation: float
) -> None:
    small = Split(seed=seed, test=test, validation=validation / 2)
    large = Split(seed=seed, test=test, validation=validation)
    for key in keys:
        moved = (split_of(small, key), split_of(large, key))
        assert moved[0] == moved[1] or moved == ("train", "validation")


def test_shares_are_kept_by_splits_and_by_the_limit() -> None:
    split = Split(test=0.1, validation=0.05)
    keys = [f"row {number}" for number in range(20_000)]
    first = sorted(keys, key=lambda key: rank(split.seed, key, key))[:10_000]
    for chosen in (keys, first):
        share = {name: sum(split_of(split, key) == name for key in chosen) / len(chosen) for name in SPLITS}
        assert abs(share["test"] - 0.1) < 0.01
        assert abs(share["validation"] - 0.05) < 0.01


def test_the_seed_changes_the_splits() -> None:
    keys = [f"row {number}" for number in range(100)]
    assert [split_of(Split(seed=1), key) for key in keys] != [split_of(Split(seed=2), key) for key in keys]


def test_exact_duplicates_go_whatever_their_blanks_and_form(inputs_of: Callable[..., Inputs]) -> None:
    filler = [{"text": row["text"], "id": row["id"]} for row in BASE]
    same = ["caf\u00e9 is  closed", "cafe\u0301 is closed\n", " caf\u00e9 is\tclosed"]
    inputs = inputs_of([*filler, *({"text": text, "id": f"s{n}"} for n, text in enumerate(same))], id="id")
    assert len(texts_of(inputs) & set(same)) == 1
    assert len(inputs.rows) == len(BASE) + 1
    assert inputs.funnel.duplicates == 2


def test_case_is_a_difference_unless_near_duplicates_go(inputs_of: Callable[..., Inputs]) -> None:
    rows = [*BASE, {"text": "Close the ACCOUNT now", "id": "x"}, {"text": "close the account now", "id": "y"}]
    assert len(inputs_of(rows).rows) == len(BASE) + 2
    assert len(inputs_of(rows, deduplicate={"near": 1.0}).rows) == len(BASE) + 1


def test_the_same_row_twice_with_its_id_is_no_error(inputs_of: Callable[..., Inputs]) -> None:
    inputs = inputs_of([*BASE, *BASE[:5]], id="id")
    assert (len(inputs.rows), inputs.funnel.duplicates) == (80, 5)


def test_contradicting_references_are_counted_and_one_is_kept(inputs_of: Callable[..., Inputs]) -> None:
    rows = [{"text": row["text"], "answer": "a"} for row in BASE]
    inputs = inputs_of([*rows, rows[3] | {"answer": "b"}, rows[4] | {"answer": "a"}], reference="answer")
    assert inputs.funnel.conflicting_references == 1
    assert len(inputs.rows) == len(BASE)


def test_a_row_without_group_is_a_group_of_its_own(inputs_of: Callable[..., Inputs]) -> None:
    rows = [
        {"text": row["text"], "id": row["id"], "thread": "t" if n < 40 else None}
        for n, row in enumerate(BASE)
    ]
    inputs = inputs_of(rows, id="id", groupBy="thread")
    groups = {row["row_id"]: row["group"] for row in inputs.rows}
    assert groups == {row["id"]: "t" if n < 40 else row["id"] for n, row in enumerate(BASE)}
    assert len({row["split"] for row in inputs.rows if row["group"] == "t"}) == 1


def test_numbers_are_ids_as_text_and_content_names_rows_without_one(inputs_of: Callable[..., Inputs]) -> None:
    rows = [{"text": row["text"], "id": number} for number, row in enumerate(BASE)]
    numbered, unnamed = inputs_of(rows, id="id"), inputs_of(rows)
    assert {row["row_id"] for row in numbered.rows} == {str(number) for number in range(80)}
    assert {len(row["row_id"]) for row in unnamed.rows} == {32}


def test_a_small_limit_of_many_rows_keeps_what_a_full_sort_would(inputs_of: Callable[..., Inputs]) -> None:
    rows = [{"text": f"row {number}", "id": str(number)} for number in range(4000)]
    inputs = inputs_of(rows, id="id", limit=100)
    ids = sorted((str(number) for number in range(4000)), key=lambda row_id: rank(17, row_id, row_id))
    assert [row["row_id"] for row in inputs.rows] == sorted(ids[:100])
    assert inputs.funnel.beyond_limit == 3900

"""The judgement of what may go, as a pure function."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distillery.artifacts import layout
from distillery.artifacts.pruning import DAY, prunable
from distillery.artifacts.store import ObjectStat

NOW = 1_000_000_000.0
WEEK = 7 * DAY


def aged(key: str, days: float) -> ObjectStat:
    return ObjectStat(key, 1, "e", NOW - days * DAY)


def test_a_writer_is_as_old_as_its_newest_file() -> None:
    prefix = layout.writer("teacher", "i", "w")
    live = [aged(prefix + "first", 30), aged(prefix + "second", 30), aged(prefix + "third", 0.01)]
    assert prunable(live, {}, NOW, WEEK) == []
    assert prunable(live[:2], {}, NOW, WEEK) == [prefix + "first", prefix + "second"]


def test_a_checkpoint_folder_is_as_old_as_its_newest_file() -> None:
    prefix = layout.checkpoints("student", "i")
    running = [aged(prefix + "step-1/state", 30), aged(prefix + "step-2/state", 1)]
    assert prunable(running, {}, NOW, WEEK) == []
    assert prunable(running[:1], {}, NOW, WEEK) == [prefix + "step-1/state"]
    committed = {layout.artifact("student", "i"): "w"}
    assert prunable(running, committed, NOW, WEEK) == [found.key for found in running]


def test_exactly_the_limit_is_not_older() -> None:
    key = layout.writer("teacher", "i", "w") + "f"
    assert prunable([aged(key, 7)], {}, NOW, WEEK) == []
    assert prunable([aged(key, 7.001)], {}, NOW, WEEK) == [key]


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.sampled_from(["f", "model/weights", "manifest.json", "data/x/f"])
KEYS = st.one_of(
    st.builds(lambda s, i, w, f: layout.writer(s, i, w) + f, NAMES, NAMES, NAMES, PATHS),
    st.builds(layout.manifest, NAMES, NAMES),
    st.builds(lambda s, i, f: layout.checkpoints(s, i) + f, NAMES, NAMES, PATHS),
    st.builds(lambda s, i, f: layout.artifact(s, i) + f, NAMES, NAMES, PATHS),
    st.builds(lambda t, f: layout.answers(t) + f, NAMES, PATHS),
    st.builds(lambda u, f: layout.ledger(u) + f, NAMES, PATHS),
    st.builds(layout.pins, NAMES, NAMES),
    st.builds(lambda n, v, f: layout.release(n, v) + f, NAMES, NAMES, PATHS),
    st.builds(layout.latest, NAMES),
    st.builds("/".join, st.lists(NAMES, min_size=1, max_size=6)),
)
OBJECTS = st.dictionaries(KEYS, st.floats(min_value=0, max_value=60), max_size=30).map(
    lambda ages: [aged(key, days) for key, days in ages.items()]
)
WINNERS = st.dictionaries(st.builds(layout.artifact, NAMES, NAMES), st.one_of(st.none(), NAMES), max_size=9)


@given(objects=OBJECTS, winners=WINNERS, days=st.floats(min_value=0, max_value=60))
def test_nothing_that_counts_is_ever_removed(
    objects: list[ObjectStat], winners: dict[str, str | None], days: float
) -> None:
    gone = prunable(objects, winners, NOW, days * DAY)
    assert gone == sorted(set(gone))
    assert set(gone) <= {found.key for found in objects}
    ages = {found.key: NOW - found.modified for found in objects}
    for key in gone:
        assert key.split("/")[0] in ("artifacts", "checkpoints", "probes")
        if key.startswith("artifacts/"):
            _, stage, identity, data, writer, *_ = key.split("/")
            assert data == "data"
            assert winners.get(layout.artifact(stage, identity), "nobody") not in (None, writer)
            assert ages[key] > days * DAY - 1e-3


@given(objects=OBJECTS, winners=WINNERS)
def test_pruning_again_finds_nothing_new(objects: list[ObjectStat], winners: dict[str, str | None]) -> None:
    gone = set(prunable(objects, winners, NOW, WEEK))
    rest = [found for found in objects if found.key not in gone]
    assert prunable(rest, winners, NOW, WEEK) == []

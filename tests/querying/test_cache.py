import msgspec
import pytest

from distillery.artifacts import layout
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.store import MissingObject
from distillery.querying.cache import HEADER, AnswerCache, AnswerJournal, AnswerRecord
from distillery.querying.wal import encode_records

TEACHER = "t1"


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def cache(store, warnings):
    return AnswerCache(store, TEACHER, warnings.append)


def make_record(key, call="w-1", top=0, text="billing"):
    return AnswerRecord(key=key, call=call, top=top, text=text, usage=(3, 0, 1))


def write(journal, *records):
    journal.write([msgspec.json.encode(record) for record in records])


def keys(store):
    return [stat.key for stat in store.list()]


def test_an_answer_is_found_in_the_journal_and_after_sealing(store, cache):
    journal = AnswerJournal(store, TEACHER, "w")
    write(journal, make_record("a"))
    write(journal, make_record("b"))
    assert cache.find({"a": 0, "b": 0, "c": 0}) == {"a": make_record("a"), "b": make_record("b")}
    journal.seal()
    assert cache.find({"a": 0, "b": 0, "c": 0}) == {"a": make_record("a"), "b": make_record("b")}
    assert keys(store) == [layout.answer_segment(TEACHER, "w", 0)]


def test_only_an_answer_with_enough_alternatives_serves(store, cache):
    write(AnswerJournal(store, TEACHER, "w"), make_record("a", top=5))
    assert cache.find({"a": 6}) == {}
    assert cache.find({"a": 5}) == cache.find({"a": 0}) == {"a": make_record("a", top=5)}


def test_of_several_answers_the_same_one_is_chosen_whatever_the_order(tmp_path, warnings):
    records = [
        make_record("a", "w-3", 5, "three"),
        make_record("a", "w-1", 0, "one"),
        make_record("a", "w-2", 5, "two"),
    ]
    for name, order in {"x": records, "y": records[::-1]}.items():
        store = DirectoryStore(tmp_path / name)
        for number, record in enumerate(order):
            write(AnswerJournal(store, TEACHER, f"w{number}"), record)
        assert AnswerCache(store, TEACHER, warnings.append).find({"a": 0})["a"].text == "two"


def test_answers_of_calls_are_found(store, cache):
    write(AnswerJournal(store, TEACHER, "w"), make_record("a", "w-1"), make_record("b", "w-2"))
    assert cache.find_calls(frozenset({"w-2", "w-9"})) == {"w-2": make_record("b", "w-2")}


def test_damaged_records_are_skipped_with_a_warning(store, cache, warnings):
    data = encode_records([HEADER, *(msgspec.json.encode(make_record(key)) for key in "abc")])
    lines = data.split(b"\n")
    lines[2] = lines[2][:-7] + b"garbage"
    store.put(layout.answer_journal(TEACHER, "w", 0), b"\n".join(lines)[:-1])
    assert sorted(cache.find(dict.fromkeys("abc", 0))) == ["a", "c"]
    [warning] = warnings
    assert "1 damaged record(s)" in warning


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"not a journal\n" * 3, b'{"key": "a"}\n'])
def test_a_garbage_object_is_no_crash(store, cache, data):
    store.put(layout.answer_journal(TEACHER, "w", 0), data)
    assert cache.find({"a": 0}) == {}


def test_a_record_of_another_shape_is_skipped(store, cache):
    store.put(
        layout.answer_journal(TEACHER, "w", 0), encode_records([HEADER, b'{"key":"a","call":"x","top":1}'])
    )
    assert cache.find({"a": 0}) == {}


def test_objects_of_a_newer_version_are_left_alone(store, cache, warnings):
    newer = encode_records([b'{"kind":"answers","version":2}', msgspec.json.encode(make_record("a"))])
    store.put(layout.answer_journal(TEACHER, "dead", 0), newer)
    assert cache.find({"a": 0}) == {}
    cache.tidy(AnswerJournal(store, TEACHER, "w"))
    assert keys(store) == [layout.answer_journal(TEACHER, "dead", 0)]
    assert "newer distillery" in warnings[0]


def test_what_dead_engines_left_is_merged(store, cache):
    for writer in ("dead1", "dead2"):
        journal = AnswerJournal(store, TEACHER, writer)
        for number in range(5):
            write(journal, make_record(f"{writer}-{number}"))
    cache.tidy(AnswerJournal(store, TEACHER, "w"))
    assert keys(store) == [layout.answer_segment(TEACHER, "w", 0)]
    wanted = {f"{writer}-{number}": 0 for writer in ("dead1", "dead2") for number in range(5)}
    assert sorted(cache.find(wanted)) == sorted(wanted)


def test_a_crash_between_segment_and_deletion_changes_nothing(store, cache, monkeypatch):
    journal = AnswerJournal(store, TEACHER, "w")
    write(journal, make_record("a"))
    monkeypatch.setattr(store, "delete", lambda key: None)
    journal.seal()
    assert len(keys(store)) == 2
    assert cache.find({"a": 0}) == {"a": make_record("a")}


def test_an_object_that_is_sealed_while_we_read_is_found_in_its_segment(store, cache, monkeypatch):
    journal = AnswerJournal(store, TEACHER, "w")
    write(journal, make_record("a"))
    get = store.get

    def sealing_get(key):
        if "/journal/" in key:
            journal.seal()
            raise MissingObject(key)
        return get(key)

    monkeypatch.setattr(store, "get", sealing_get)
    assert cache.find({"a": 0}) == {"a": make_record("a")}


def test_many_small_objects_are_sealed_on_the_way(store, monkeypatch):
    journal = AnswerJournal(store, TEACHER, "w")
    monkeypatch.setattr("distillery.querying.cache.SEAL_OBJECTS", 3)
    for number in range(3):
        assert not journal.due()
        write(journal, make_record(str(number)))
    assert journal.due()
    journal.seal()
    assert not journal.due()

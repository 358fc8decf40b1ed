import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.artifacts import layout
from distillery.artifacts.directory import DirectoryStore
from distillery.querying.cache import AnswerJournal, AnswerRecord
from distillery.querying.ledger import (
    Intent,
    LedgerLog,
    LedgerTotals,
    Opened,
    Settlement,
    Spending,
    WriterState,
    read_ledger,
    read_writer,
)

UID, TEACHER = "job-1", "t1"
M = 10**6  # picos per micro


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def write(log, *entries):
    log.write([msgspec.json.encode(entry) for entry in entries])


def opened(stage="teacher", attempt=1):
    return Opened(stage, attempt, TEACHER, (2 * M, M, 10 * M), "USD")


def paid(call, micro=70):
    return Settlement(call, "paid", micro * M, 0, 10, 2, 5)


def test_an_empty_ledger_is_all_zero(store):
    assert read_ledger(store, UID) == LedgerTotals()


def test_settled_calls_are_summed_per_stage_and_in_all(store):
    for stage, writer in (("teacher", "w1"), ("evaluation", "w2")):
        log = LedgerLog(store, UID, writer)
        write(log, opened(stage), Intent("c1", 99 * M))
        write(log, paid("c1"), Intent("c2", 99 * M), Intent("c3", 99 * M))
        write(log, Settlement("c2", "unpaid"), Settlement("c3", "unknown", unknown=99 * M))
    totals = read_ledger(store, UID)
    one = Spending(70, 99, 2, 10, 2, 5)
    assert totals.stages == {"teacher": one, "evaluation": one}
    assert totals.total == Spending(140, 198, 4, 20, 4, 10)
    assert totals.recovered == ()


def test_a_call_without_an_outcome_counts_at_its_reserve(store):
    write(LedgerLog(store, UID, "w1"), opened(), Intent("w1-1", 99 * M))
    totals = read_ledger(store, UID)
    assert (totals.spent_micro, totals.unknown_micro) == (0, 99)
    assert totals.recovered == (Settlement("w1-1", "unknown", unknown=99 * M),)


def test_a_call_whose_answer_stands_in_the_journal_counts_exactly(store):
    write(LedgerLog(store, UID, "w1"), opened(), Intent("w1-1", 99 * M), Intent("w1-2", 99 * M))
    answer = AnswerRecord(key="k", call="w1-1", top=0, text="x", usage=(10, 2, 5))
    AnswerJournal(store, TEACHER, "w1").write([msgspec.json.encode(answer)])
    totals = read_ledger(store, UID)
    assert (totals.spent_micro, totals.unknown_micro) == (8 * 2 + 2 * 1 + 5 * 10, 99)


def test_outcomes_found_later_settle_calls_of_the_dead_once(store):
    write(LedgerLog(store, UID, "w1"), opened(), Intent("w1-1", 99 * M))
    totals = read_ledger(store, UID)
    later = LedgerLog(store, UID, "w2")
    write(later, opened(attempt=2), *totals.recovered)
    again = read_ledger(store, UID)
    assert (again.total, again.recovered) == (totals.total, ())
    later.seal()
    assert read_ledger(store, UID).total == totals.total


def test_an_engine_believed_dead_that_settles_after_all_is_not_counted_twice(store):
    first = LedgerLog(store, UID, "w1")
    write(first, opened(), Intent("w1-1", 99 * M))
    write(LedgerLog(store, UID, "w2"), opened(attempt=2), *read_ledger(store, UID).recovered)
    write(first, paid("w1-1"))
    assert read_ledger(store, UID).total == Spending(70, 0, 1, 10, 2, 5)


def test_sealing_changes_no_sum_and_leaves_one_object(store):
    log = LedgerLog(store, UID, "w1")
    write(log, opened(), Intent("w1-1", 99 * M), Intent("w1-2", 50 * M))
    write(log, paid("w1-1"))
    before = read_ledger(store, UID)
    log.seal()
    assert [stat.key for stat in store.list()] == [layout.ledger_state(UID, "w1")]
    assert read_ledger(store, UID) == before
    write(log, paid("w1-2"))
    assert read_ledger(store, UID).total == Spending(140, 0, 2, 20, 4, 10)


def test_a_crash_while_sealing_counts_nothing_twice(store, monkeypatch):
    log = LedgerLog(store, UID, "w1")
    write(log, opened(), Intent("w1-1", 99 * M))
    write(log, paid("w1-1"))
    before = read_ledger(store, UID)
    monkeypatch.setattr(store, "delete", lambda key: None)
    log.seal()
    assert len(list(store.list())) == 3
    assert read_ledger(store, UID) == before


def test_a_damaged_entry_is_warned_about(store):
    write(LedgerLog(store, UID, "w1"), opened(), Intent("w1-1", 99 * M))
    key = layout.ledger_entries(UID, "w1", 0)
    store.put(key, store.get(key)[:-20])
    warnings = []
    read_ledger(store, UID, warnings.append)
    assert "1 damaged ledger record(s)" in warnings[0]


def test_an_entry_of_a_newer_kind_is_skipped(store):
    log = LedgerLog(store, UID, "w1")
    write(log, opened(), Intent("w1-1", 99 * M), paid("w1-1"))
    from distillery.querying.wal import encode_records

    store.put(layout.ledger_entries(UID, "w9", 0), encode_records([b'{"entry":"gift","call":"x"}']))
    assert read_ledger(store, UID).spent_micro == 70


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["intent", "paid", "unknown"])), max_size=30))
def test_a_writers_sums_never_depend_on_how_entries_are_grouped(steps):
    entries = []
    for number, kind in steps:
        call = f"c{number}"
        if kind == "intent":
            entries.append(Intent(call, 99))
        else:
            entries.append(Settlement(call, kind, 5, 0) if kind == "paid" else Settlement(call, kind, 0, 99))
    whole = WriterState()
    for entry in entries:
        whole.apply(entry)
    halved = WriterState()
    for entry in entries[: len(entries) // 2]:
        halved.apply(entry)
    halved = msgspec.json.decode(msgspec.json.encode(halved), type=WriterState)
    for entry in entries[len(entries) // 2 :]:
        halved.apply(entry)
    assert halved == whole


def test_a_writer_that_is_gone_has_spent_what_is_settled_and_at_most_what_it_reserved(store):
    write(LedgerLog(store, UID, "gone"), opened(), Intent("c1", 99 * M), Intent("c2", 100 * M), paid("c1"))
    write(LedgerLog(store, UID, "other"), opened(), Intent("c3", 7 * M))
    last = read_writer(store, UID, "gone")
    assert (last.tally.spent, last.tally.unknown, last.tally.calls) == (70 * M, 100 * M, 2)
    assert last.recovered == (Settlement("c2", "unknown", unknown=100 * M),)
    assert read_writer(store, UID, "nobody").tally.calls == 0

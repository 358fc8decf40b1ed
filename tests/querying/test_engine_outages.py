"""A teacher that goes away while an engine asks it, for a while or for good."""

import threading
import time
from dataclasses import replace

import pytest

from distillery.api.v1alpha1.teacher import RateLimits
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import StageFailed
from distillery.querying.answers import Answer, Unanswered
from distillery.querying.ledger import read_ledger
from fake_teacher import FakeTeacher, Fault
from querying_builders import QUICK, bill_micro, make_engine, make_questions, make_settings


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def ask(teacher, store, questions, options=QUICK, **changes):
    with make_engine(make_settings(teacher.url, **changes), store, options=options) as engine:
        return engine.ask(questions)


def test_an_outage_that_ends_in_time_costs_no_row(store):
    options = replace(QUICK, outage_seconds=20)
    with FakeTeacher(faults=[Fault("503", after=20, times=40)]) as teacher:
        results = ask(teacher, store, make_questions(100), options=options)
        assert all(isinstance(result, Answer) for result in results)
        assert len(teacher.bill) == 100


def away(teacher, *, after, seconds):
    """Let the teacher be away for a while, from a call on that it has answered so many before."""
    fault = Fault("503", after=after)
    teacher.faults.append(fault)

    def come_back():
        while fault.seen <= after:
            time.sleep(0.01)
        time.sleep(seconds)
        teacher.faults.remove(fault)

    thread = threading.Thread(target=come_back, daemon=True)
    thread.start()
    return thread


PATIENT = replace(QUICK, outage_seconds=3, startup_seconds=3, longest_backoff_seconds=0.1)
"""Eight tries take a third of what these outages last."""


@pytest.mark.parametrize("answered", [0, 60, 99], ids=["from the start", "all under way", "the last row"])
def test_an_outage_costs_no_row_when_no_fresh_row_is_left(store, answered):
    with FakeTeacher() as teacher:
        back = away(teacher, after=answered, seconds=1.5)
        results = ask(teacher, store, make_questions(100), PATIENT, rate_limits=RateLimits(concurrency=100))
        back.join(30)
        assert all(isinstance(result, Answer) for result in results)
        assert len(teacher.bill) == 100


@pytest.mark.parametrize("answered", [0, 80], ids=["from the start", "all under way"])
def test_an_outage_that_lasts_ends_the_round_also_when_no_fresh_row_is_left(store, answered):
    with FakeTeacher(faults=[Fault("503", after=answered)]) as teacher:
        with pytest.raises(StageFailed, match="has not answered for") as failure:
            ask(teacher, store, make_questions(100), rate_limits=RateLimits(concurrency=100))
        assert len(teacher.bill) == answered
    assert (failure.value.reason, failure.value.failure_class) == ("TeacherUnavailable", "infrastructure")


def test_a_few_last_rows_that_always_fail_stay_unanswered_and_do_not_hold_up_the_stage(store):
    with FakeTeacher(faults=[Fault("500", match="#98:"), Fault("disconnect", match="#99:")]) as teacher:
        results = ask(teacher, store, make_questions(100))
        again = ask(teacher, store, make_questions(100))
        assert len(teacher.bill) == 98
    for round_ in (results, again):
        left = [result for result in round_ if isinstance(result, Unanswered)]
        assert [result.reason for result in left] == ["ServerError", "ConnectionLost"]


def test_an_outage_in_the_middle_keeps_what_was_paid(store):
    with FakeTeacher(faults=[Fault("503", after=20)]) as teacher:
        with pytest.raises(StageFailed) as failure:
            ask(teacher, store, make_questions(200))
        assert failure.value.reason == "TeacherUnavailable"
        assert read_ledger(store, "job-1").exact.spent == bill_micro(teacher.bill) * 10**6
        teacher.faults.clear()
        ask(teacher, store, make_questions(200))
        assert len(teacher.bill) == 200


@pytest.mark.parametrize("rows", [3, 30])
def test_a_pause_that_an_overloaded_teacher_asks_for_is_not_taken_for_absence(store, rows):
    options = replace(QUICK, outage_seconds=1.5)
    with FakeTeacher() as teacher, make_engine(make_settings(teacher.url), store, options=options) as engine:
        engine.ask(make_questions(20))
        teacher.faults += [
            Fault("503", times=rows),
            Fault("429", after=0, times=1, seconds=2.0),
            Fault("503", times=rows),
        ]
        results = engine.ask(make_questions(rows, start=20))
    assert all(isinstance(result, Answer) for result in results)


def test_a_teacher_that_the_cache_knows_to_answer_may_be_away_as_long_as_any(store):
    options = replace(QUICK, outage_seconds=5.0, startup_seconds=0.2)
    with FakeTeacher() as teacher:
        ask(teacher, store, make_questions(100), options)
        back = away(teacher, after=0, seconds=0.8)
        results = ask(teacher, store, make_questions(107), options)
        back.join(30)
        assert all(isinstance(result, Answer) for result in results)
        assert len(teacher.bill) == 107


def test_many_rows_whose_calls_hang_are_left_and_the_others_kept(store):
    options = replace(QUICK, timeout_seconds=0.7, outage_seconds=0.3)
    faults = [Fault("hang", match=f"#{number}:", seconds=5) for number in range(0, 200, 10)]
    with FakeTeacher(faults=faults) as teacher:
        limits = RateLimits(concurrency=16)
        results = ask(teacher, store, make_questions(200), options, rate_limits=limits)
    left = [result.reason for result in results if isinstance(result, Unanswered)]
    assert left == ["TimedOut"] * 20

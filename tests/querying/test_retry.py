"""The judgement of failed calls: who is to blame, and what follows. Times are handed in."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.querying.answers import Question, Unanswered
from distillery.querying.history import AWAY, RowHistory, Streak, TeacherHistory, pause_seconds
from distillery.querying.limits import EngineOptions
from distillery.querying.replies import AccessDenied, Failed, RateLimited, Rejected
from distillery.querying.retry import (
    CHECKS,
    DENIED_LIMIT,
    MAX_TRIES,
    REJECTED_LIMIT,
    STARTUP_TRIES,
    TRIED_ROWS,
    WITNESSES,
    AwaitReplies,
    LeaveUnanswered,
    Retry,
    TeacherDown,
    TeacherRefuses,
    after_failure,
    after_round,
    after_trial,
    backoff,
    before_call,
    teacher_is_to_blame,
)

OPTIONS = EngineOptions(outage_seconds=10, startup_seconds=4)
UNAVAILABLE = Failed("ServerError", "503")
MANY = 10**6
"""Calls under way, so many that no failures of a test are an outage."""


class Engine:
    """Feeds calls to both histories as the dispatcher does, and remembers what followed the last one."""

    def __init__(self, threshold=3, *, under_way=0, fresh_left=True):
        self.teacher = replace(TeacherHistory.begin(OPTIONS, 1), threshold=threshold)
        self.work(under_way, fresh_left=fresh_left)
        self.rows = {}
        self.decision = None

    def work(self, under_way=0, *, fresh_left=True):
        self.teacher = self.teacher.beside(under_way, fresh_left=fresh_left)

    def answer(self, now):
        self.teacher = self.teacher.with_answer(now)

    def fail(self, now, name="a", reply=UNAVAILABLE, sent=None):
        row = self.rows.get(name, RowHistory(name, name))
        row = row.with_call(now if sent is None else sent)
        self.rows[name] = row = row.with_failure(reply, self.teacher, now, luck=0.0)
        self.teacher = self.teacher.with_failure(row, now)
        self.decision = after_failure(row, self.teacher, now)
        return self.decision

    def fail_many(self, now, count=WITNESSES, **call):
        for number in range(count):
            self.fail(now, str(number), **call)

    def is_down(self, now):
        return isinstance(before_call(self.teacher, now), TeacherDown)


# An outage, or rows


def test_single_failures_between_answers_hold_nothing_back():
    engine = Engine()
    for second in range(20):
        engine.fail(second)
        engine.fail(second)
        engine.answer(second)
    assert engine.teacher.allows_fresh(20)
    assert before_call(engine.teacher, 1000) is None


def test_failures_in_a_row_leave_one_probe_a_second():
    engine = Engine()
    engine.answer(0.0)
    for _ in range(3):
        engine.fail(5.0)
    assert engine.teacher.allows_fresh(5.0)
    teacher = engine.teacher.with_call(RowHistory("b", "b"), 5.0)
    assert not teacher.allows_fresh(5.9)
    assert teacher.allows_fresh(6.0)


def test_an_outage_is_failures_of_many_rows_for_long_enough():
    engine = Engine()
    engine.answer(0.0)
    engine.fail_many(5.0, WITNESSES - 1)
    assert not engine.is_down(15.0)
    engine.fail(6.0, "one more")
    assert not engine.is_down(14.9)
    assert before_call(engine.teacher, 15.0) == TeacherDown(10.0, "503")
    assert engine.fail(15.5, "another") == TeacherDown(10.5, "503")


def test_an_outage_needs_no_fresh_row_to_be_seen_but_without_any_each_row_is_tried_once_more():
    engine = Engine(fresh_left=False)
    engine.answer(0.0)
    engine.fail_many(5.0)
    assert before_call(engine.teacher, 15.0) is None
    assert isinstance(engine.fail(15.0), TeacherDown)


def test_a_teacher_that_never_answered_gets_less_time():
    engine = Engine()
    engine.fail_many(5.0)
    assert not engine.is_down(8.9)
    assert engine.is_down(9.0)


def test_a_teacher_that_is_known_to_answer_gets_all_the_time():
    engine = Engine()
    engine.teacher = engine.teacher.with_trust()
    engine.fail_many(5.0)
    assert not engine.is_down(14.9)
    assert engine.is_down(15.0)


def test_any_reply_ends_the_outage():
    for reply in (Rejected("RequestRejected", "HTTP 400"), AccessDenied(403, "HTTP 403", of_row=True)):
        engine = Engine()
        engine.fail_many(5.0)
        engine.fail(6.0, "other", reply)
        assert not engine.teacher.circuit_is_open
        assert before_call(engine.teacher, 100) is None


def test_the_time_between_two_rounds_is_no_outage():
    engine = Engine()
    engine.fail_many(5.0)
    engine.teacher = engine.teacher.with_round()
    engine.fail_many(100.0)
    assert not engine.is_down(101.0)


def test_more_calls_under_way_than_rows_that_failed_may_still_be_answered():
    engine = Engine()
    engine.fail_many(5.0)
    engine.work(under_way=WITNESSES + 1)
    assert before_call(engine.teacher, 100.0) is None
    engine.work(under_way=WITNESSES)
    assert isinstance(before_call(engine.teacher, 100.0), TeacherDown)


def test_one_row_that_fails_often_and_rows_that_failed_while_others_were_answered_are_no_witnesses():
    engine = Engine()
    engine.answer(0.0)
    engine.fail_many(1.0)
    engine.answer(2.0)
    engine.fail_many(3.0)
    for _ in range(100):
        engine.fail(4.0, "0")
    assert before_call(engine.teacher, 100.0) is None


def test_rows_whose_calls_hang_while_others_are_answered_are_no_witnesses():
    engine = Engine()
    engine.answer(0.0)
    engine.answer(5.0)
    engine.fail_many(9.0, reply=Failed("TimedOut", "no reply"), sent=3.0)
    assert not engine.teacher.streak.witnesses
    engine.fail_many(20.0, reply=Failed("TimedOut", "no reply"), sent=14.0)
    assert not engine.teacher.streak.witnesses  # once is enough
    engine.fail(30.0, "new", Failed("TimedOut", "no reply"), sent=24.0)
    assert engine.teacher.streak.witnesses == {"new"}


def test_a_row_is_left_when_nobody_can_tell_whose_fault_it_is_and_the_time_is_over():
    engine = Engine(fresh_left=False)
    engine.answer(0.0)
    engine.fail(5.0)
    assert isinstance(engine.fail(14.9), Retry)
    assert engine.fail(15.0) == LeaveUnanswered("ServerError", "503")


def test_a_row_is_not_left_for_an_outage_as_long_as_others_can_show_whose_fault_it_is():
    engine = Engine(under_way=MANY)
    engine.answer(0.0)
    engine.fail(5.0)
    assert isinstance(engine.fail(15.0), Retry)  # fresh rows are left
    engine.work(MANY, fresh_left=False)
    engine.fail_many(6.0)
    assert isinstance(engine.fail(15.0), Retry)  # many rows fail


def test_a_suspect_is_left_after_the_time_of_an_outage_although_fresh_rows_are_there():
    engine = Engine(under_way=MANY)
    engine.answer(0.0)
    engine.fail(1.0)
    engine.answer(2.0)
    assert isinstance(engine.fail(3.0), Retry)
    assert isinstance(engine.fail(12.9), Retry)
    assert engine.fail(13.0) == LeaveUnanswered("ServerError", "503")


def test_a_pause_that_the_teacher_asked_for_is_no_absence():
    engine = Engine(fresh_left=False)
    engine.answer(0.0)
    engine.fail_many(5.0)
    engine.fail(5.0, "last")
    engine.fail(5.0, "throttled", RateLimited("429", wait=100.0))
    assert isinstance(engine.fail(106.0, "last"), Retry)
    assert isinstance(engine.fail(114.9, "last"), Retry)
    assert engine.fail(115.0, "last") == TeacherDown(110.0, "503")


# A row's tries


@pytest.mark.parametrize("reason", MAX_TRIES)
def test_a_row_is_left_after_enough_failures_of_one_kind(reason):
    failure = Failed(reason, "no")
    engine = Engine(threshold=MANY, under_way=MANY)
    for second in range(1, MAX_TRIES[reason] + 1):
        assert not isinstance(engine.decision, LeaveUnanswered)
        engine.answer(second - 0.5)
        engine.fail(float(second), reply=failure)
    assert engine.decision == LeaveUnanswered(reason, "no")


@pytest.mark.parametrize("reason", STARTUP_TRIES)
def test_before_the_first_answer_what_may_be_billed_is_tried_less_often(reason):
    engine = Engine(threshold=MANY, under_way=MANY)
    for _ in range(STARTUP_TRIES[reason]):
        assert not isinstance(engine.decision, LeaveUnanswered)
        engine.fail(1.0, reply=Failed(reason, "no"))
    assert engine.decision == LeaveUnanswered(reason, "no")


@pytest.mark.parametrize("reason", sorted(AWAY))
def test_what_a_teacher_that_is_away_does_to_all_counts_against_no_row(reason):
    engine = Engine(under_way=MANY)
    engine.answer(5.0)
    for second in range(100):
        assert isinstance(engine.fail(10.0 + second, reply=Failed(reason, "no")), Retry)


def test_what_may_have_been_paid_counts_unless_other_rows_can_show_whose_fault_it_is():
    engine = Engine(threshold=0, under_way=MANY)
    engine.teacher = engine.teacher.with_trust()
    hangs = Failed("TimedOut", "no reply")
    for _ in range(2 * MAX_TRIES["TimedOut"]):
        assert isinstance(engine.fail(1.0, reply=hangs), Retry)
    engine.work(MANY, fresh_left=False)
    for _ in range(MAX_TRIES["TimedOut"]):
        assert not isinstance(engine.decision, LeaveUnanswered)
        engine.fail(1.0, reply=hangs)
    assert engine.decision == LeaveUnanswered("TimedOut", "no reply")


def test_tries_wait_longer_and_longer_and_are_spread_by_luck():
    engine = Engine(under_way=MANY)
    waits = [engine.fail(100.0).at - 100.0 for _ in range(8)]
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    lucky = replace(engine.rows["a"], luck=0.5)
    assert after_failure(lucky, engine.teacher, 100.0) == Retry(122.5)


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_back_off_grows_up_to_its_cap_and_is_never_all_luck(failures, luck):
    delay = backoff(failures, 0.5, 30, luck)
    full = min(30, 0.5 * 2 ** min(failures - 1, 30))
    assert full / 2 <= delay <= full


# Throttled, rejected, denied


def test_a_throttled_row_is_due_at_once_and_costs_no_try_since_everybody_pauses():
    engine = Engine()
    assert engine.fail(5.0, reply=RateLimited("429", wait=3.0)) == Retry(5.0)
    assert (engine.rows["a"].failures, engine.teacher.streak, engine.teacher.paused_until) == (
        (),
        Streak(),
        8.0,
    )


@pytest.mark.parametrize(("wait", "pause"), [(3.0, 3.3), (None, 0.55), (7200.0, 660.0)])
def test_the_pause_is_the_one_asked_for_within_reason_and_a_little_luck(wait, pause):
    row = RowHistory("a", "a").with_failure(
        RateLimited("429", wait), TeacherHistory.begin(OPTIONS, 1), 0, 0.999999
    )
    assert pause_seconds(row, OPTIONS) == pytest.approx(pause, rel=1e-3)


def test_nothing_but_throttled_calls_for_too_long_is_a_teacher_that_is_down():
    engine = Engine()
    limited = RateLimited("429", wait=1.0)
    engine.fail(0.0, reply=limited)
    assert isinstance(engine.fail(900.0, reply=limited), Retry)
    assert engine.fail(900.5, reply=limited) == TeacherDown(900.5, "429")
    engine.answer(901.0)
    assert isinstance(engine.fail(902.0, reply=limited), Retry)


def test_unacceptable_rows_are_left_but_if_none_was_ever_accepted_the_teacher_refuses():
    rejected = Rejected("ContentFiltered", "HTTP 400")
    engine = Engine()
    for number in range(REJECTED_LIMIT - 1):
        assert engine.fail(1.0, str(number), rejected) == LeaveUnanswered("ContentFiltered", "HTTP 400")
    engine.answer(1.0)
    assert isinstance(engine.fail(1.0, "x", rejected), LeaveUnanswered)
    engine = Engine()
    for number in range(REJECTED_LIMIT):
        engine.fail(1.0, str(number), rejected)
    assert engine.decision == TeacherRefuses("19", "HTTP 400")


def test_access_that_is_denied_to_all_ends_at_once():
    engine = Engine()
    engine.answer(0.0)
    assert engine.fail(1.0, reply=AccessDenied(401, "HTTP 401")) == TeacherRefuses("a", "HTTP 401", 401)


def deny(engine, count, now=1.0):
    for number in range(count):
        denied = AccessDenied(403, "HTTP 403", of_row=True)
        assert engine.fail(now, f"denied {number}", denied) == LeaveUnanswered("RequestRejected", "HTTP 403")


def test_rows_that_are_denied_one_after_the_other_stop_the_next_call_once_none_is_under_way():
    engine = Engine()
    engine.answer(0.0)
    deny(engine, DENIED_LIMIT - 1)
    assert before_call(engine.teacher, 1.0) is None
    engine.work(under_way=1)
    deny(engine, 1)
    assert before_call(engine.teacher, 1.0) == AwaitReplies()
    engine.work(under_way=0)
    assert before_call(engine.teacher, 1.0) == TeacherRefuses("denied 0", "HTTP 403", 403)
    engine.answer(2.0)
    assert before_call(engine.teacher, 2.0) is None


def test_a_denial_ends_the_stage_after_the_round_only_if_the_teacher_never_answered():
    engine = Engine()
    assert after_round(engine.teacher) is None
    deny(engine, 1)
    assert after_round(engine.teacher) == TeacherRefuses("denied 0", "HTTP 403", 403)
    engine.answer(2.0)
    assert after_round(engine.teacher) is None


# After the fact


def unanswered(reason, name="a"):
    return Unanswered(Question(name, []), name, reason, "no")


def test_a_trial_goes_on_to_a_few_rows_unless_the_teacher_is_away():
    tried = [unanswered("TimedOut", str(number)) for number in range(TRIED_ROWS)]
    assert after_trial(tried[:1], left=9) is None
    assert after_trial(tried[:1], left=0) == TeacherRefuses("0", "no")
    assert after_trial(tried, left=9) == TeacherRefuses("2", "no")
    assert after_trial([tried[0], unanswered("ConnectionLost")], left=9) == TeacherDown(0.0, "no")


@pytest.mark.parametrize(
    ("reasons", "verdict"),
    [
        (["ServerError", "TimedOut", "ConnectionLost"], True),
        (["ServerError", "RequestRejected"], False),
        (["ServerError", "ServerError", "NoChoices"], True),
        (["NoChoices", "UnreadableReply", "ContentFiltered", "RequestRejected"], False),
    ],
)
def test_the_teacher_is_to_blame_if_most_rows_were_lost_to_its_day(reasons, verdict):
    assert teacher_is_to_blame(reasons) is verdict


# The list


def test_every_check_has_a_case_in_which_it_decides():
    """No check is dead: leaving any of them out changes what one of these calls comes to."""
    histories = []

    def remember(engine, name="a"):
        histories.append((engine.rows[name], engine.teacher))

    for reply in (
        AccessDenied(401, "401"),
        AccessDenied(403, "403", of_row=True),
        RateLimited("429", None),
        UNAVAILABLE,
    ):
        engine = Engine()
        engine.fail(1.0, reply=reply)
        remember(engine)
    engine = Engine(under_way=MANY)
    for number in range(REJECTED_LIMIT):
        engine.fail(1.0, str(number), Rejected("RequestRejected", "400"))
    remember(engine, "19")
    engine = Engine()
    engine.fail(-1000.0, reply=RateLimited("429", 0.0))
    engine.fail(1.0, reply=RateLimited("429", 0.0))
    remember(engine)
    engine = Engine()
    engine.fail_many(-20.0)
    engine.fail(1.0)
    remember(engine)
    engine = Engine(under_way=MANY)
    engine.fail(1.0, reply=Failed("TimedOut", "no reply"))
    remember(engine)
    engine = Engine(under_way=MANY)
    engine.answer(-20.0)
    engine.fail(-19.0)
    engine.answer(-18.0)
    engine.fail(-17.0)
    engine.fail(1.0)
    remember(engine)
    engine = Engine(fresh_left=False)
    engine.fail(-20.0)
    engine.fail(1.0)
    remember(engine)

    def first(row, teacher):
        return next(check for check in CHECKS if check(row, teacher, 1.0) is not None)

    assert {first(row, teacher) for row, teacher in histories} == set(CHECKS)

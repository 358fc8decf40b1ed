import re
import socket
import time
from dataclasses import replace
from decimal import Decimal

import pytest

from distillery.api.v1alpha1.common import SecretKey
from distillery.api.v1alpha1.teacher import Parameters, RateLimits
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import StageFailed
from distillery.querying.answers import Answer, Unanswered, Usage
from distillery.querying.ledger import read_ledger
from distillery.querying.retry import DENIED_LIMIT
from fake_teacher import FakeTeacher, Fault
from querying_builders import (
    KEY,
    QUICK,
    bill_micro,
    make_engine,
    make_question,
    make_questions,
    make_settings,
)


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def ask(teacher, store, questions, options=QUICK, **changes):
    with make_engine(make_settings(teacher.url, **changes), store, options=options) as engine:
        results = engine.ask(questions)
    check_books(store, teacher)
    return results


def check_books(store, teacher):
    """The ledger is never below the teacher's bill."""
    totals = read_ledger(store, "job-1")
    assert totals.exact.spent + totals.exact.unknown >= bill_micro(teacher.bill) * 10**6


def spent_exactly(store, teacher):
    totals = read_ledger(store, "job-1")
    return totals.exact.unknown == 0 and Decimal(totals.exact.spent) == bill_micro(teacher.bill) * 10**6


@pytest.mark.parametrize("kind", ["500", "503", "408", "409", "error-body"])
def test_passing_errors_are_retried_and_cost_nothing(store, kind):
    with FakeTeacher(faults=[Fault(kind, times=5)]) as teacher:
        results = ask(teacher, store, make_questions(20))
        assert all(isinstance(result, Answer) for result in results)
        assert len(teacher.bill) == 20
        assert spent_exactly(store, teacher)


@pytest.mark.parametrize("kind", ["garbage", "html", "empty", "disconnect"])
def test_lost_answers_are_asked_for_again_and_counted_at_their_reserve(store, kind):
    with FakeTeacher(faults=[Fault(kind, times=3)]) as teacher:
        results = ask(teacher, store, make_questions(20))
        assert all(isinstance(result, Answer) for result in results)
    totals = read_ledger(store, "job-1")
    assert totals.unknown_micro > 0
    assert totals.exact.spent == bill_micro(teacher.bill) * 10**6
    assert totals.total.calls == 23


def test_a_reply_without_choices_is_paid_and_asked_again(store):
    with FakeTeacher(faults=[Fault("no-choices", times=2)]) as teacher:
        results = ask(teacher, store, make_questions(10))
        assert all(isinstance(result, Answer) for result in results)
        assert len(teacher.bill) == 12
        assert spent_exactly(store, teacher)


def test_a_row_that_always_fails_is_given_up_with_its_reason_and_the_others_are_answered(store):
    faults = [Fault("500", match="#3:"), Fault("garbage", match="#4:"), Fault("no-choices", match="#5:")]
    with FakeTeacher(faults=faults) as teacher:
        results = ask(teacher, store, make_questions(30))
        check_books(store, teacher)
    failed = {result.question.row_id: result for result in results if isinstance(result, Unanswered)}
    assert {row: result.reason for row, result in failed.items()} == {
        "r00003": "ServerError",
        "r00004": "UnreadableReply",
        "r00005": "NoChoices",
    }
    assert failed["r00003"].message == "HTTP 500: fault 500"
    assert failed["r00003"].usage is None
    prompt = next(call["prompt"] for call in teacher.bill if "#5:" in call["row"])
    assert failed["r00005"].usage == Usage(3 * prompt, 0, 3 * 2)


def test_many_bad_rows_do_not_look_like_an_outage(store):
    faults = [Fault("500", match="invoice")]
    with FakeTeacher(faults=faults) as teacher:
        results = ask(teacher, store, make_questions(90))
    assert sum(isinstance(result, Unanswered) for result in results) == 30


REJECTED = {"400": "RequestRejected", "422": "RequestRejected", "policy": "ContentFiltered"}


@pytest.mark.parametrize("kind", REJECTED)
def test_a_rejected_row_is_left_at_once(store, kind):
    with FakeTeacher(faults=[Fault(kind, match="#1:")]) as teacher:
        first, second = ask(teacher, store, make_questions(2))
        assert teacher.counts == {kind: 1, "answered": 1}
    assert isinstance(first, Answer)
    assert (second.reason, second.usage) == (REJECTED[kind], None)


PAID = {
    "refusal": ("", "stop", "I cannot help with that."),
    "length": ("bill", "length", None),
    "content-filter": ("billing", "content_filter", None),
    "nonsense": ("I think it could be several things", "stop", None),
    "null-content": ("", "stop", None),
}


@pytest.mark.parametrize("kind", PAID)
def test_paid_but_unusable_answers_are_data_and_are_not_bought_again(store, kind):
    text, finish, refusal = PAID[kind]
    with FakeTeacher(faults=[Fault(kind)]) as teacher:
        for _ in range(2):
            [answer] = ask(teacher, store, [make_question(0)], parameters=Parameters(max_tokens=64))
        assert (answer.text, answer.finish_reason, answer.refusal) == (text, finish, refusal)
        assert len(teacher.bill) == 1
        assert spent_exactly(store, teacher)


def test_an_answer_without_usage_is_kept_and_counted_at_its_reserve(store):
    warnings = []
    with FakeTeacher(faults=[Fault("no-usage")]) as teacher:
        [answer] = ask(teacher, store, [make_question(0)], options=replace(QUICK, warn=warnings.append))
    assert (answer.text, answer.usage) == ("billing", Usage())
    assert read_ledger(store, "job-1").unknown_micro >= bill_micro(teacher.bill)
    assert "does not say how many tokens" in warnings[0]


def test_a_slow_answer_is_waited_for_and_a_hanging_one_is_not(store):
    options = replace(QUICK, timeout_seconds=0.5)
    faults = [Fault("slow", match="#0:", seconds=0.2), Fault("hang", match="#1:", times=1)]
    with FakeTeacher(faults=faults) as teacher:
        results = ask(teacher, store, make_questions(3), options=options)
        assert all(isinstance(result, Answer) for result in results)
    totals = read_ledger(store, "job-1")
    assert totals.unknown_micro > 0


def test_a_row_that_always_hangs_is_given_up(store):
    options = replace(QUICK, timeout_seconds=0.1)
    with FakeTeacher(faults=[Fault("hang", match="#1:")]) as teacher:
        results = ask(teacher, store, make_questions(3), options=options)
    assert [getattr(result, "reason", None) for result in results] == [None, "TimedOut", None]
    assert results[1].message.startswith("no reply within 0.1")


def test_rate_refusals_pause_everyone_and_lose_no_row(store):
    with FakeTeacher(faults=[Fault("429", times=40, seconds=0.02)]) as teacher:
        results = ask(teacher, store, make_questions(40))
        assert all(isinstance(result, Answer) for result in results)
        assert spent_exactly(store, teacher)


def test_the_pause_that_the_teacher_asks_for_is_kept(store):
    with FakeTeacher(faults=[Fault("429", times=1, seconds=0.4)]) as teacher:
        ask(teacher, store, make_questions(3), rate_limits=RateLimits(concurrency=1))
        first, second, *_ = teacher.arrivals
    assert second - first >= 0.4


def test_a_teacher_that_only_refuses_for_its_rate_is_unavailable_in_the_end(store):
    options = replace(QUICK, rate_limited_seconds=0.3)
    with FakeTeacher(faults=[Fault("429", seconds=0.02)]) as teacher, pytest.raises(StageFailed) as failure:
        ask(teacher, store, make_questions(10), options=options)
    assert (failure.value.reason, failure.value.failure_class) == ("TeacherUnavailable", "infrastructure")


REFUSALS = {
    "401": ("apiKeySecret", 8),
    "402": ("settle the account", 8),
    "403": ("apiKeySecret", DENIED_LIMIT + 7),
    "404": ("spec.teacher.model", DENIED_LIMIT + 7),
    "quota": ("raise the quota", 8),
    "redirect": ("https://elsewhere.invalid/v1", 8),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_closed_door_stops_the_stage_with_the_repair(store, kind):
    want, most = REFUSALS[kind]
    with FakeTeacher(faults=[Fault(kind)]) as teacher:
        with pytest.raises(StageFailed, match=re.escape(want)) as failure:
            ask(teacher, store, make_questions(50))
        assert teacher.counts[kind] <= most
        assert teacher.bill == []
    assert (failure.value.reason, failure.value.failure_class) == ("TeacherRefused", "user")
    assert "'large' at http://127.0.0.1" in failure.value.message


@pytest.mark.parametrize("kind", ["403", "404"])
def test_a_row_that_a_gateway_turns_away_is_left_once_the_teacher_has_answered_others(store, kind):
    with FakeTeacher(faults=[Fault(kind, match="#70:"), Fault(kind, match="#80:")]) as teacher:
        results = ask(teacher, store, make_questions(100))
        assert teacher.counts[kind] == 2
        again = ask(teacher, store, make_questions(100))
        assert len(teacher.bill) == 98
    for round_ in (results, again):
        left = {result.question.row_id: result for result in round_ if isinstance(result, Unanswered)}
        assert {row: result.reason for row, result in left.items()} == {
            "r00070": "RequestRejected",
            "r00080": "RequestRejected",
        }
        assert left["r00070"].message == f"HTTP {kind}: fault {kind}"


def test_a_door_that_closes_in_mid_run_stops_the_stage_after_a_few_rows(store):
    with FakeTeacher(faults=[Fault("403", after=30)]) as teacher:
        with pytest.raises(StageFailed, match=r"refuses row 'r000\d\d': HTTP 403") as failure:
            ask(teacher, store, make_questions(100))
        assert DENIED_LIMIT <= teacher.counts["403"] <= DENIED_LIMIT + 7
        assert len(teacher.bill) == 30
    assert (failure.value.reason, failure.value.failure_class) == ("TeacherRefused", "user")


def test_a_single_question_that_is_turned_away_before_any_answer_is_a_closed_door(store):
    with (
        FakeTeacher(faults=[Fault("403")]) as teacher,
        pytest.raises(StageFailed, match="refuses row 'r00007'"),
    ):
        ask(teacher, store, [make_question(7)])


def test_quick_refusals_of_some_rows_do_not_overtake_the_slow_answers_to_others(store):
    faults = [Fault("403", match=f"#{number}:") for number in range(0, 100, 10)]
    with FakeTeacher(faults=[*faults, Fault("slow", seconds=0.5)]) as teacher:
        results = ask(teacher, store, make_questions(100), rate_limits=RateLimits(concurrency=100))
    assert sum(isinstance(result, Unanswered) for result in results) == 10


def test_rows_turned_away_between_answers_never_stop_the_stage(store):
    with FakeTeacher(faults=[Fault("403", match="invoice")]) as teacher:
        results = ask(teacher, store, make_questions(90), rate_limits=RateLimits(concurrency=1))
    assert sum(isinstance(result, Unanswered) for result in results) == 30


def test_what_was_paid_before_the_door_closed_is_kept(store):
    with FakeTeacher(faults=[Fault("401", after=30)]) as teacher:
        with pytest.raises(StageFailed):
            ask(teacher, store, make_questions(100))
        paid = len(teacher.bill)
        teacher.faults.clear()
        ask(teacher, store, make_questions(100))
        assert paid == 30
        assert len(teacher.bill) == 100
        assert spent_exactly(store, teacher)


def test_the_key_is_sent_and_appears_nowhere_else(store, tmp_path, caplog):
    settings = {"api_key_secret": SecretKey(name="teacher", key="api-key")}
    with (
        FakeTeacher(api_key=KEY) as teacher,
        make_engine(make_settings(teacher.url, **settings), store, key=f"{KEY}\n") as engine,
    ):
        engine.ask(make_questions(5))
        assert KEY not in repr(vars(engine))
    with FakeTeacher(api_key="another-key-entirely") as teacher:
        with (
            make_engine(make_settings(teacher.url, **settings), store, key=KEY) as engine,
            pytest.raises(StageFailed) as failure,
        ):
            engine.ask(make_questions(5, start=10))
        assert teacher.counts["unauthorized"] > 0
    assert KEY not in str(failure.value) + repr(failure.value) + caplog.text
    assert "[redacted]" in failure.value.message
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(store):
    with (
        FakeTeacher() as teacher,
        make_engine(make_settings(teacher.url), store, key=f"{KEY}\nX-Evil: 1") as engine,
        pytest.raises(StageFailed, match="no HTTP header can carry") as failure,
    ):
        engine.ask(make_questions(2))
    assert KEY not in str(failure.value)


def test_a_teacher_that_accepts_no_request_stops_the_stage(store):
    with FakeTeacher(faults=[Fault("400")]) as teacher:
        with pytest.raises(StageFailed, match="accepts no request: HTTP 400: fault 400") as failure:
            ask(teacher, store, make_questions(500))
        assert teacher.counts["400"] <= 40
    assert failure.value.reason == "TeacherRefused"


@pytest.mark.parametrize("kind", ["500", "garbage", "disconnect", "no-choices"])
def test_a_teacher_that_is_down_stops_the_stage_instead_of_burning_rows(store, kind):
    with FakeTeacher(faults=[Fault(kind)]) as teacher:
        with pytest.raises(StageFailed) as failure:
            ask(teacher, store, make_questions(500))
        check_books(store, teacher)
        assert sum(teacher.counts.values()) < 150
    assert (failure.value.reason, failure.value.failure_class) == ("TeacherUnavailable", "infrastructure")


def test_nobody_at_the_address(store):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with (
        make_engine(make_settings(url), store) as engine,
        pytest.raises(StageFailed, match=r"cannot connect.*spec.teacher.endpoint.url") as failure,
    ):
        engine.ask(make_questions(100))
    assert failure.value.reason == "TeacherUnavailable"
    assert read_ledger(store, "job-1").exact.unknown == 0


def test_a_single_row_is_left_without_an_answer_if_the_teacher_is_down(store):
    with FakeTeacher(faults=[Fault("500")]) as teacher:
        [result] = ask(teacher, store, [make_question(1)])
    assert result.reason == "ServerError"


def test_a_wrong_path_on_the_server_is_a_closed_door(store):
    with FakeTeacher() as teacher:
        settings = make_settings(teacher.url.removesuffix("/v1"))
        with (
            make_engine(settings, store) as engine,
            pytest.raises(StageFailed, match="up to and including the version"),
        ):
            engine.ask(make_questions(3))


def test_a_password_in_the_url_is_not_shown(store):
    settings = make_settings("http://user:hunter2@127.0.0.1:9/v1")
    with make_engine(settings, store) as engine, pytest.raises(StageFailed) as failure:
        engine.ask(make_questions(100))
    assert "hunter2" not in str(failure.value)


def test_tries_wait_longer_and_longer(store):
    options = replace(QUICK, backoff_seconds=0.1, longest_backoff_seconds=1.0)
    with FakeTeacher(faults=[Fault("500", times=3)]) as teacher:
        started = time.monotonic()
        ask(teacher, store, [make_question(0)], options=options)
    assert time.monotonic() - started >= 0.05 + 0.1 + 0.2


def test_rows_rejected_before_do_not_stop_a_run_whose_other_rows_are_paid(store):
    with FakeTeacher(faults=[Fault("400", match="invoice")]) as teacher:
        ask(teacher, store, make_questions(90))
        teacher.counts.clear()
        results = ask(teacher, store, make_questions(90))
        assert teacher.counts == {"400": 30}
    assert sum(isinstance(result, Unanswered) for result in results) == 30

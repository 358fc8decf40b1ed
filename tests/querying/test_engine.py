import asyncio
from collections import Counter
from decimal import Decimal

import pytest

from distillery.api.v1alpha1.task import Output
from distillery.api.v1alpha1.teacher import Parameters, RateLimits
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import Cost
from distillery.errors import StageFailed, StageStopped
from distillery.querying.answers import Answer, Question, TokenLogprob, Unanswered, Usage
from distillery.querying.ledger import read_ledger
from fake_teacher import FakeTeacher, Fault
from querying_builders import QUICK, bill_micro, make_engine, make_question, make_questions, make_settings


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def ask(teacher, store, questions, **changes):
    with make_engine(make_settings(teacher.url, **changes), store) as engine:
        return engine.ask(questions), engine.cost


def test_an_answer_carries_all_that_the_teacher_said(store):
    with FakeTeacher(cached_share=0.5) as teacher:
        question = make_question(1, "my password is lost")
        [answer], cost = ask(teacher, store, [question])
    assert isinstance(answer, Answer)
    first, *rest = answer.logprobs
    assert (answer.question, answer.text, answer.finish_reason) == (question, "login", "stop")
    assert (answer.refusal, answer.model, answer.fingerprint) == (None, "large", "fp_fake")
    assert (answer.cached, answer.seconds > 0) == (False, True)
    assert (first.token, [token for token, _ in first.top]) == ("logi", ["logi", "bill", "refu"])
    assert rest == [TokenLogprob("n", -0.0001, [("n", -0.0001)])]
    [call] = teacher.bill
    assert answer.usage == Usage(call["prompt"], call["cached"], 2)
    assert cost == Cost(
        spent_micro=int(bill_micro([call]).to_integral_value("ROUND_CEILING")),
        calls=1,
        prompt_tokens=call["prompt"],
        cached_prompt_tokens=call["cached"],
        completion_tokens=2,
    )


def test_the_request_says_what_the_settings_say(store):
    parameters = Parameters(max_tokens=9, temperature=0.2, top_p=0.9, stop=["\n"], seed=5, top_logprobs=3)
    schema = {"type": "object"}
    question = make_question(1)
    sample = Question(question.row_id, question.messages, 2, 0.7)
    with FakeTeacher(output="json") as teacher:
        ask(
            teacher,
            store,
            [question, sample],
            parameters=parameters,
            output=Output(format="json", schema=schema),
        )
        requests = sorted(teacher.requests, key=lambda request: request["seed"])
    shared = {
        "model": "large",
        "messages": question.messages,
        "max_tokens": 9,
        "top_p": 0.9,
        "stop": ["\n"],
        "logprobs": True,
        "top_logprobs": 3,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }
    assert requests == [
        shared | {"temperature": 0.2, "seed": 5},
        shared | {"temperature": 0.7, "seed": 7},
    ]


def test_nothing_is_sent_that_was_not_asked_for(store):
    with FakeTeacher() as teacher:
        ask(teacher, store, [make_question(1)], parameters=Parameters(max_tokens=9))
        [request] = teacher.requests
    assert sorted(request) == ["max_tokens", "messages", "model", "temperature"]


def test_results_come_in_the_order_of_the_questions(store):
    questions = make_questions(60)[::-1]
    with FakeTeacher(faults=[Fault("slow", match="#00", times=5)]) as teacher:
        answers, _ = ask(teacher, store, questions)
    assert [answer.question for answer in answers] == questions


def test_equal_questions_are_bought_once(store):
    twins = [make_question(1), Question("twin", make_question(1).messages), make_question(2)]
    with FakeTeacher() as teacher:
        answers, cost = ask(teacher, store, twins)
        assert len(teacher.bill) == 2
    assert [answer.question.row_id for answer in answers] == ["r00001", "twin", "r00002"]
    assert answers[0].text == answers[1].text
    assert [answer.cached for answer in answers] == [False, True, False]
    assert (cost.calls, cost.cached) == (2, 1)


def test_asking_again_buys_nothing_and_writes_nothing(store):
    with FakeTeacher() as teacher:
        first, _ = ask(teacher, store, make_questions(30))
        before = [stat.key for stat in store.list()]
        again, cost = ask(teacher, store, make_questions(30)[::-1])
        assert len(teacher.bill) == 30
    assert [(answer.text, answer.logprobs) for answer in again[::-1]] == [
        (answer.text, answer.logprobs) for answer in first
    ]
    assert all(answer.cached for answer in again)
    assert cost == Cost(cached=30)
    assert [stat.key for stat in store.list()] == before


def test_more_questions_buy_only_the_new_ones(store):
    with FakeTeacher() as teacher:
        ask(teacher, store, make_questions(20))
        ask(teacher, store, make_questions(30))
        assert Counter(call["row"] for call in teacher.bill).most_common(1)[0][1] == 1
        assert len(teacher.bill) == 30


def test_an_answer_with_more_alternatives_serves_fewer_but_not_the_other_way(store):
    def alternatives(top):
        parameters = Parameters(max_tokens=16, top_logprobs=top)
        [answer], _ = ask(teacher, store, [make_question(1)], parameters=parameters)
        return None if answer.logprobs is None else len(answer.logprobs[0].top)

    with FakeTeacher() as teacher:
        bought = [(alternatives(top), len(teacher.bill)) for top in (2, 1, 0, 3, 2)]
    assert bought == [(2, 1), (1, 1), (None, 1), (3, 2), (2, 2)]


def test_small_objects_are_merged_when_the_engine_closes(store):
    with FakeTeacher() as teacher:
        ask(teacher, store, make_questions(40))
    assert [key.split("/")[-2] for key in (stat.key for stat in store.list()) if "answers/" in key] == [
        "segments"
    ]
    assert len(list(store.list("jobs/"))) == 1


def test_concurrency_is_bounded(store):
    with FakeTeacher(delay=0.02) as teacher:
        ask(teacher, store, make_questions(60), rate_limits=RateLimits(concurrency=5))
        assert 3 <= teacher.max_in_flight <= 5
    with FakeTeacher(delay=0.01) as teacher, make_engine(make_settings(teacher.url), store) as engine:
        engine.ask(make_questions(5, start=100), concurrency=1)
        assert teacher.max_in_flight == 1


def test_calls_are_paced_evenly_from_the_start(store):
    limits = RateLimits(concurrency=16, requests_per_minute=3000)
    with FakeTeacher() as teacher:
        ask(teacher, store, make_questions(50), rate_limits=limits)
        arrivals = teacher.arrivals
    seconds = arrivals[-1] - arrivals[0]
    assert 0.85 <= seconds <= 2.5  # 49 gaps of 20 ms
    assert sum(1 for at in arrivals if at < arrivals[0] + 0.3) <= 0.3 * 50 + 6


def test_estimates_subtract_what_is_paid_and_learn(store):
    with FakeTeacher() as teacher, make_engine(make_settings(teacher.url), store) as engine:
        guess = engine.estimate(make_questions(20))
        engine.ask(make_questions(10))
        rest = engine.estimate(make_questions(20))
        assert (guess.questions, guess.cached, rest.questions, rest.cached) == (20, 0, 20, 10)
        engine.ask(make_questions(20))
        [paid, bill] = [Decimal(engine.cost.spent_micro), bill_micro(teacher.bill)]
    assert abs(rest.expected_micro - bill / 2) < bill / 20
    assert abs(paid - bill) < 1
    assert engine.estimate(make_questions(20)).expected_micro == 0


def test_progress_counts_everything_once(store):
    seen = []
    with FakeTeacher(faults=[Fault("400", match="#3:")]) as teacher:
        ask(teacher, store, make_questions(3))
        with make_engine(make_settings(teacher.url), store) as engine:
            engine.ask(make_questions(10), on_progress=seen.append)
    last = seen[-1]
    assert (last.done, last.total, last.cached, last.failed, last.in_flight) == (10, 10, 3, 1, 0)
    assert last.spent_micro == engine.cost.spent_micro
    assert [report.done for report in seen] == sorted(report.done for report in seen)


def test_an_error_in_the_progress_callback_reaches_the_caller(store):
    def explode(_):
        raise StageStopped("enough")

    with (
        FakeTeacher() as teacher,
        make_engine(make_settings(teacher.url), store) as engine,
        pytest.raises(StageStopped),
    ):
        engine.ask(make_questions(10), on_progress=explode)


def test_a_stop_request_lets_calls_in_flight_finish_and_keeps_them(store):
    with FakeTeacher(delay=0.05) as teacher:
        with make_engine(make_settings(teacher.url), store) as engine:
            with pytest.raises(StageStopped):
                engine.ask(make_questions(500), stop_requested=lambda: len(teacher.bill) > 20)
            bought = len(teacher.bill)
            assert engine.cost.calls == bought
        assert 20 < bought < 100
        assert Decimal(read_ledger(store, "job-1").spent_micro) - bill_micro(teacher.bill) < 1
        _, cost = ask(teacher, store, make_questions(bought + 10))
        assert len(teacher.bill) == bought + 10
        assert cost.cached == bought


def test_a_stop_request_before_the_first_call_sends_nothing(store):
    with FakeTeacher() as teacher, make_engine(make_settings(teacher.url), store) as engine:
        with pytest.raises(StageStopped):
            engine.ask(make_questions(5), stop_requested=lambda: True)
        assert teacher.counts == {}


def test_a_call_that_hangs_does_not_hold_up_a_stop_for_ever(store):
    options = QUICK.__class__(timeout_seconds=60, drain_seconds=0.2)
    with FakeTeacher(faults=[Fault("hang")]) as teacher:
        engine = make_engine(make_settings(teacher.url), store, options=options)
        with engine, pytest.raises(StageStopped):
            engine.ask(make_questions(3), stop_requested=lambda: bool(teacher.counts))
        assert engine.cost.unknown_micro >= bill_micro(teacher.bill) > 0


def test_a_mixture_of_models_warns_once(store):
    warnings = []
    options = QUICK.__class__(warn=warnings.append)
    with (
        FakeTeacher(faults=[Fault("other-model", match="#1")]) as teacher,
        make_engine(make_settings(teacher.url), store, options=options) as engine,
    ):
        engine.ask(make_questions(30))
    [warning] = warnings
    assert "another-model, large" in warning


def test_a_mixture_with_cached_answers_warns_too(store):
    warnings = []
    options = QUICK.__class__(warn=warnings.append)
    with FakeTeacher(faults=[Fault("other-model", after=5)]) as teacher:
        ask(teacher, store, make_questions(5))
        with make_engine(make_settings(teacher.url), store, options=options) as engine:
            engine.ask(make_questions(10))
    assert len(warnings) == 1


def test_two_engines_at_once_lose_nothing(store):
    async def both(teacher):
        def one(start):
            return ask(teacher, store, make_questions(40, start))

        await asyncio.gather(asyncio.to_thread(one, 0), asyncio.to_thread(one, 20))

    with FakeTeacher() as teacher:
        asyncio.run(both(teacher))
        bought = len(teacher.bill)
        _, cost = ask(teacher, store, make_questions(60))
        assert (cost.cached, len(teacher.bill)) == (60, bought)
        assert abs(read_ledger(store, "job-1").spent_micro - bill_micro(teacher.bill)) <= 1


def test_a_full_store_stops_before_more_is_bought(store, monkeypatch):
    put, puts = store.put, []

    def failing_put(key, data, **conditions):
        puts.append(key)
        if len(puts) > 6:
            raise StageFailed("StoreUnusable", "the disk is full")
        return put(key, data, **conditions)

    monkeypatch.setattr(store, "put", failing_put)
    with FakeTeacher(delay=0.02) as teacher:
        with (
            make_engine(make_settings(teacher.url), store) as engine,
            pytest.raises(StageFailed, match="disk is full"),
        ):
            engine.ask(make_questions(500))
        assert len(teacher.bill) < 100
        assert engine.cost.calls >= len(teacher.bill)


def test_a_read_only_store_buys_nothing(store, monkeypatch):
    def refuse(*_, **__):
        raise StageFailed("StoreUnusable", "permission denied")

    monkeypatch.setattr(store, "put", refuse)
    with FakeTeacher() as teacher:
        with (
            make_engine(make_settings(teacher.url), store) as engine,
            pytest.raises(StageFailed, match="permission denied"),
        ):
            engine.ask(make_questions(50))
        assert teacher.bill == []


def test_a_question_that_utf8_cannot_encode_is_refused_before_anything_is_sent(store):
    with FakeTeacher() as teacher:
        with make_engine(make_settings(teacher.url), store) as engine, pytest.raises(UnicodeEncodeError):
            engine.ask([Question("r", [{"role": "user", "content": "\ud800"}])])
        assert teacher.counts == {}


def test_unanswered_questions_are_asked_again_next_time(store):
    with FakeTeacher(faults=[Fault("400", times=1)]) as teacher:
        [first], _ = ask(teacher, store, [make_question(1)])
        [second], _ = ask(teacher, store, [make_question(1)])
    assert isinstance(first, Unanswered)
    assert isinstance(second, Answer)

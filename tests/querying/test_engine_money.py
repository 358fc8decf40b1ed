from decimal import Decimal

import pytest

from distillery.api.v1alpha1.teacher import Parameters, Pricing, RateLimits
from distillery.artifacts.directory import DirectoryStore
from distillery.errors import StageFailed
from distillery.querying.engine import CostEstimate
from distillery.querying.ledger import read_ledger
from fake_teacher import FakeTeacher, Fault
from querying_builders import PRICING, bill_micro, make_engine, make_questions, make_settings

FREE_PROMPT = Pricing(prompt_per_million=Decimal(0), completion_per_million=Decimal(10))


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def buy(teacher, store, count, budget, **options):
    pricing = options.pop("pricing", FREE_PROMPT)
    limits = RateLimits(concurrency=options.pop("concurrency", 8))
    settings = make_settings(teacher.url, max_cost=Decimal(budget), pricing=pricing, rate_limits=limits)
    with make_engine(settings, store) as engine:
        return engine.ask(make_questions(count), **options)


def half_of(count, pricing=FREE_PROMPT):
    """What half of the questions cost, as a decimal amount."""
    teacher = FakeTeacher()
    for question in make_questions(count):
        teacher.complete({"model": "large", "messages": question.messages}, question.messages[-1]["content"])
    return bill_micro(teacher.bill, pricing) / 2 / 10**6


@pytest.mark.parametrize("pricing", [FREE_PROMPT, PRICING], ids=["free prompt", "paid prompt"])
@pytest.mark.parametrize(("concurrency", "count"), [(1, 40), (8, 100), (32, 200)])
def test_a_budget_for_half_the_rows_buys_about_half_and_never_more(store, pricing, concurrency, count):
    budget = half_of(count, pricing)
    with FakeTeacher() as teacher:
        with pytest.raises(StageFailed) as failure:
            buy(teacher, store, count, budget, pricing=pricing, concurrency=concurrency)
        spent = bill_micro(teacher.bill, pricing)
        assert spent <= budget * 10**6
        assert spent >= budget * 10**6 - bound_micro(pricing)
        totals = read_ledger(store, "job-1")
        assert (Decimal(totals.exact.spent), totals.exact.unknown) == (spent * 10**6, 0)
        assert (failure.value.reason, failure.value.failure_class) == ("BudgetReached", "budget")
        assert "spec.budget.maxCost" in failure.value.message

        first = len(teacher.bill)
        buy(teacher, store, count, budget * 3, pricing=pricing, concurrency=concurrency)
        assert len(teacher.bill) == count
        assert len({call["row"] for call in teacher.bill}) == count
        assert first < count


def bound_micro(pricing):
    """No call reserves more than this."""
    return 400 * pricing.prompt_per_million + 16 * pricing.completion_per_million


def test_failed_calls_give_their_reservation_back(store):
    budget = half_of(60) * 2 + Decimal("0.0002")
    with FakeTeacher(faults=[Fault("500", times=7)]) as teacher:
        buy(teacher, store, 60, budget)
        assert len(teacher.bill) == 60


def test_calls_with_a_lost_outcome_use_up_the_budget(store):
    with FakeTeacher(faults=[Fault("garbage", after=5)]) as teacher:
        with pytest.raises(StageFailed):
            buy(teacher, store, 500, "0.005")
        totals = read_ledger(store, "job-1")
    assert bill_micro(teacher.bill, FREE_PROMPT) <= totals.spent_micro + totals.unknown_micro <= 5000


def test_earlier_attempts_and_stages_count(store):
    budget = half_of(100)
    with FakeTeacher() as teacher:
        for stage in ("dataset", "teacher", "evaluation"):
            settings = make_settings(teacher.url, max_cost=budget, pricing=FREE_PROMPT)
            with (
                make_engine(settings, store, stage=stage) as engine,
                pytest.raises(StageFailed, match="BudgetReached"),
            ):
                engine.ask(make_questions(100))
        assert bill_micro(teacher.bill, FREE_PROMPT) <= budget * 10**6
        assert list(read_ledger(store, "job-1").stages) == ["dataset", "evaluation", "teacher"]


def test_what_is_set_aside_is_left_over(store):
    whole = half_of(100) * 2
    with FakeTeacher() as teacher:
        with pytest.raises(StageFailed, match="set aside for the evaluation"):
            buy(teacher, store, 100, whole, set_aside_micro=int(whole * 10**6 / 2))
        assert bill_micro(teacher.bill, FREE_PROMPT) <= whole * 10**6 / 2


def test_cached_answers_need_no_budget(store):
    with FakeTeacher() as teacher:
        buy(teacher, store, 50, "1")
        buy(teacher, store, 50, "0")
        with pytest.raises(StageFailed, match="BudgetReached"):
            buy(teacher, store, 51, "0")
        assert len(teacher.bill) == 50


def test_the_budget_is_not_stopped_by_a_price_of_zero(store):
    free = Pricing(prompt_per_million=Decimal(0), completion_per_million=Decimal(0))
    with FakeTeacher() as teacher:
        assert len(buy(teacher, store, 20, "0", pricing=free)) == 20


def test_only_a_lower_bound_above_the_budget_stops_before_any_call(store):
    with FakeTeacher() as teacher:
        settings = make_settings(teacher.url, max_cost=Decimal("0.01"))
        with make_engine(settings, store) as engine:
            engine.require(CostEstimate(lower_micro=10_000, expected_micro=10**9, upper_micro=10**9))
            with pytest.raises(StageFailed, match=r"at least 0\.010001 USD") as failure:
                engine.require(CostEstimate(lower_micro=10_001))
        assert failure.value.failure_class == "budget"
    with make_engine(make_settings(), store) as engine:
        engine.require(CostEstimate(lower_micro=10**15))


def test_a_teacher_that_bills_more_than_it_may_is_noticed(store):
    from dataclasses import replace

    from querying_builders import QUICK

    class Greedy(FakeTeacher):
        def _charge(self, body, text, completion):
            return super()._charge(body, text, completion * 100)

    warnings = []
    with Greedy() as teacher:
        settings = make_settings(
            teacher.url, max_cost=Decimal(1), pricing=FREE_PROMPT, parameters=Parameters(max_tokens=16)
        )
        with make_engine(settings, store, options=replace(QUICK, warn=warnings.append)) as engine:
            engine.ask(make_questions(10))
        assert engine.cost.spent_micro == bill_micro(teacher.bill, FREE_PROMPT)
    assert len(warnings) == 1
    assert "billed more" in warnings[0]


def test_what_was_set_aside_for_an_evaluation_pays_for_its_last_call_too(store):
    labelling, evaluation = make_questions(60), make_questions(60, start=60)
    with FakeTeacher() as teacher:
        settings = make_settings(teacher.url)
        with make_engine(settings, store) as engine:
            engine.ask(labelling)
            estimate, spent = engine.estimate(evaluation), engine.object_spent_micro
        left = Decimal(spent + estimate.expected_micro + estimate.largest_micro).scaleb(-6)
        tight = settings.model_copy(update={"max_cost": left})
        with make_engine(tight, store, stage="evaluation") as engine:
            engine.ask(evaluation)
            assert engine.cost.calls == len(evaluation)
            assert engine.object_spent_micro == -(-bill_micro(teacher.bill) // 1)

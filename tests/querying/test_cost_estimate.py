from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.api.v1alpha1.task import Output
from distillery.api.v1alpha1.teacher import Parameters, Pricing
from distillery.querying.answers import Question, Usage
from distillery.querying.cost import CostEstimate, TokenStats, estimate_cost
from querying_builders import make_questions, make_settings

texts = st.lists(st.text(max_size=200), max_size=10)


@settings(max_examples=40)
@given(texts, st.integers(1, 1000), st.sampled_from(["label", "text"]))
def test_the_bounds_are_in_order(contents, longest, kind):
    output = Output(format=kind, labels=["a", "bb"] if kind == "label" else None)
    settings = make_settings(output=output, parameters=Parameters(max_tokens=longest))
    questions = [Question(str(n), [{"role": "user", "content": text}]) for n, text in enumerate(contents)]
    estimate = estimate_cost(settings, questions)
    assert estimate.lower_micro <= estimate.expected_micro <= estimate.upper_micro


def test_cached_questions_are_counted_and_cost_nothing():
    assert estimate_cost(make_settings(), [], cached=7) == CostEstimate(questions=7, cached=7)


def test_without_prices_everything_is_free():
    estimate = estimate_cost(make_settings(pricing=None), make_questions(3))
    assert (estimate.lower_micro, estimate.expected_micro, estimate.upper_micro) == (0, 0, 0)
    assert estimate.prompt_tokens > 0


def test_with_free_prompts_nothing_is_certain_since_answers_may_be_empty():
    pricing = Pricing(prompt_per_million=Decimal(0), completion_per_million=Decimal(10))
    assert estimate_cost(make_settings(pricing=pricing), make_questions(1000)).lower_micro == 0


def test_seen_answers_replace_the_guess():
    settings = make_settings()
    typical = TokenStats.learn(settings, [(100, Usage(50, 0, 3)), (100, Usage(50, 0, 5))])
    assert typical == TokenStats(per_byte=0.5, overhead=0.0, completion=4.0)
    estimate = estimate_cost(
        settings, [Question("r", [{"role": "user", "content": "x" * 100}])], typical=typical
    )
    assert (estimate.prompt_tokens, estimate.completion_tokens) == (50, 4)
    assert estimate.expected_micro == 50 * 2.5 + 4 * 10

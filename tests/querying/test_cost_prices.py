from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from distillery.api.v1alpha1.teacher import Pricing
from distillery.querying.answers import Usage
from distillery.querying.cost import (
    Prices,
    amount_picos,
    format_amount,
    from_micro,
    prompt_token_bound,
    to_micro,
)

prices = st.decimals(0, 1000, places=6)


@given(prices, st.none() | prices, prices, st.tuples(*[st.integers(0, 10**7)] * 3))
def test_cost_is_exact_for_prices_with_six_decimals(prompt, cached, completion, tokens):
    pricing = Pricing(
        prompt_per_million=prompt, cached_prompt_per_million=cached, completion_per_million=completion
    )
    usage = Usage(prompt=tokens[0] + tokens[1], cached=tokens[1], completion=tokens[2])
    exact = tokens[0] * prompt + tokens[1] * (prompt if cached is None else cached) + tokens[2] * completion
    assert Prices.of(pricing).cost(usage) == exact * 10**6  # micros to picos


def test_finer_prices_round_up():
    pricing = Pricing(prompt_per_million=Decimal("0.0000001"), completion_per_million=Decimal(0))
    assert Prices.of(pricing) == Prices(prompt=1, cached=1, completion=0)


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 500),
    st.integers(0, 500),
)
def test_no_usage_within_its_tokens_costs_more_than_the_bound(prompt, cached, completion, tokens, answer):
    price = Prices(prompt, cached, completion)
    for hits in (0, tokens // 2, tokens, tokens + 3):
        assert price.cost(Usage(tokens, hits, answer)) <= price.bound(tokens, answer)


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8")), max_size=5))
def test_the_prompt_bound_covers_every_byte(texts):
    messages = [{"role": "user", "content": text} for text in texts]
    assert prompt_token_bound(messages, None) >= sum(len(text.encode()) for text in texts)
    assert prompt_token_bound(messages, {"type": "object"}) > prompt_token_bound(messages, None)


@given(st.integers(0, 10**18))
def test_micros_are_rounded_up_once(picos):
    assert 0 <= from_micro(to_micro(picos)) - picos < 10**6


def test_a_limit_is_never_widened():
    assert amount_picos(Decimal("0.0000000000019")) == 1
    assert amount_picos(Decimal("200.00")) == 200 * 10**12


def test_amounts_read_like_money():
    assert [format_amount(micro, "USD") for micro in (0, 1, 1500000, 200000000)] == [
        "0.00 USD",
        "0.000001 USD",
        "1.50 USD",
        "200.00 USD",
    ]

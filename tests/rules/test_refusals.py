from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.rules.refusals import is_refusal

REFUSALS = [
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, but I can’t help with that.",
    "I am unable to comply.",
    "Sorry, I cannot provide any information about this topic.",
    "My apologies, but as an AI assistant I am not able to answer that question.",
    "Unfortunately, I cannot continue this conversation.",
    "I must respectfully decline to engage with this request.",
    "As an AI language model, I don't have opinions.",
    "I don't have enough context to classify this ticket.",
    "Sorry, this request goes against our guidelines.",
    "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
    "Leider kann ich diese Frage nicht beantworten.",
    "Je suis désolé, mais je ne peux pas vous aider avec cela.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Desculpe, mas não posso ajudar com isso.",
    "Sorry, maar ik kan je hier niet mee helpen.",
    "Извините, но я не могу помочь с этим.",
    "很抱歉，我无法提供这方面的信息。",
    "申し訳ありませんが、そのご質問にはお答えできません。",
]
ANSWERS = [
    "billing",
    "I'm sorry to hear that your parcel is late. It will arrive tomorrow.",
    "I cannot find your invoice; please send its number.",
    "I can't see the create button: that is what the customer means.",
    "Unfortunately, your card was declined.",
    "The customer cannot log in and asks for help.",
    "Please help the customer: he says 'I can't help it'.",
    "Es tut mir leid, dass die Lieferung beschädigt war.",
    "Leider ist der Artikel nicht mehr da.",
    "Lo siento, su pedido llega mañana.",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


def test_a_quotation_far_into_the_answer_is_no_refusal() -> None:
    assert not is_refusal("word " * 100 + "I'm sorry, but I can't assist with that.")


@given(st.text(max_size=500))
def test_any_text_can_be_searched(text: str) -> None:
    is_refusal(text)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", ["sorry " * 500, "i am " * 500, " " * 5000, "leider kann ich nicht " * 300])
def test_no_text_is_slow(text: str) -> None:
    for _ in range(100):
        is_refusal(text)

"""The teacher's answers in the protocol's shape, without its weights."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import answering
import pytest
import tickets
from batching import BATCH, Batcher
from zero_shot import Judgement

from distillery.rules.refusals import is_refusal

SURE = Judgement(scores=(0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1), likeness=0.7)
FEATURE = Judgement(scores=(0.2, 0.1, 0.1, 0.1, 0.1, 0.3, 0.1), likeness=0.7)
UNKNOWN = Judgement(scores=(0.1,) * 7, likeness=0.1)
BODY = {
    "model": answering.MODEL,
    "messages": [
        {"role": "system", "content": "Route."},
        {"role": "user", "content": "Where is my invoice?"},
    ],
    "max_tokens": 16,
    "temperature": 0,
    "logprobs": True,
    "top_logprobs": 7,
}


def reply(judgement: Judgement, **changes: object) -> dict:
    request = answering.parse_request(BODY | changes)
    speaker = answering.Speaker(tickets.CATEGORIES)
    return answering.completion(request, *speaker.answer(request, judgement), prompt_tokens=9)


def test_an_answer_is_the_likeliest_label_with_usage():
    answer = reply(SURE)
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "billing"}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}


def test_the_alternatives_of_the_first_token_are_a_distribution_over_the_labels():
    (token,) = reply(SURE)["choices"][0]["logprobs"]["content"]
    listed = token["top_logprobs"]
    assert {word["token"] for word in listed} == {category.split()[0] for category in tickets.CATEGORIES}
    assert math.fsum(math.exp(word["logprob"]) for word in listed) == pytest.approx(1)
    assert [word["logprob"] for word in listed] == sorted((word["logprob"] for word in listed), reverse=True)
    assert (token["token"], token["logprob"]) == (listed[0]["token"], listed[0]["logprob"])


def test_a_label_of_two_words_takes_two_tokens():
    content = reply(FEATURE)["choices"][0]["logprobs"]["content"]
    assert [token["token"] for token in content] == ["feature", " request"]
    assert content[1]["logprob"] == 0.0


def test_an_answer_is_cut_at_max_tokens():
    choice = reply(FEATURE, max_tokens=1)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("feature", "length")
    assert len(choice["logprobs"]["content"]) == 1


def test_what_resembles_nothing_is_declined_in_words_that_the_refusal_rule_knows():
    choice = reply(UNKNOWN)["choices"][0]
    assert is_refusal(choice["message"]["content"])
    assert choice["finish_reason"] == "stop"
    first = choice["logprobs"]["content"][0]["top_logprobs"]
    assert first[0]["token"] == "I'm"


def test_logprobs_come_only_when_asked_for():
    assert reply(SURE, logprobs=False)["choices"][0]["logprobs"] is None
    (token,) = reply(SURE, top_logprobs=0)["choices"][0]["logprobs"]["content"]
    assert (token["token"], token["top_logprobs"]) == ("billing", [])


def test_above_temperature_zero_answers_are_drawn_by_seed():
    toss = replace(SURE, scores=(0.1,) * 7)

    def drawn(seed: int) -> str:
        return reply(toss, temperature=1.0, seed=seed)["choices"][0]["message"]["content"]

    assert [drawn(seed) for seed in range(40)] == [drawn(seed) for seed in range(40)]
    assert {drawn(seed) for seed in range(200)} == set(tickets.CATEGORIES)


def test_without_a_seed_the_same_question_is_drawn_anew():
    request = answering.parse_request(BODY | {"temperature": 1.0})
    speaker = answering.Speaker(tickets.CATEGORIES)
    toss = replace(SURE, scores=(0.1,) * 7)
    assert len({speaker.answer(request, toss)[0][0] for _ in range(50)}) > 1


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": "other"}, "the model 'other' does not exist"),
        ({"messages": []}, "must hold a user message"),
        ({"messages": "hi"}, "messages must be a list"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages must be a list"),
        ({"top_logprobs": 21}, "top_logprobs must be a number from 0 to 20"),
        ({"max_tokens": 0}, "max_tokens must be"),
        ({"temperature": 3}, "temperature must be"),
        ({"stream": True}, "not supported"),
        ({"n": 2}, "not supported"),
    ],
)
def test_a_request_it_cannot_serve_is_refused_with_the_reason(changes, complaint):
    with pytest.raises(answering.BadRequest, match=complaint):
        answering.parse_request(BODY | changes)


class CountingClassifier:
    """Judges a row by its length and records the batches."""

    categories = tickets.CATEGORIES

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def tokens(self, text: str) -> list[int]:
        return [0] * len(text)

    def judge(self, rows: list[list[int]]) -> list[Judgement]:
        self.batches.append([len(row) for row in rows])
        if any(len(row) == 13 for row in rows):
            raise ValueError("thirteen")
        return [Judgement((float(len(row)),), 1.0) for row in rows]


def test_texts_that_wait_together_are_batched_by_length_and_each_gets_its_own_judgement():
    classifier = CountingClassifier()
    lengths = [20 + 7 * at % 90 for at in range(90)]

    async def ask() -> list[Judgement]:
        batcher = Batcher(classifier, workers=1)
        found = await asyncio.gather(*(batcher.judge("x" * length) for length in lengths))
        batcher.close()
        return list(found)

    assert [found.scores for found in asyncio.run(ask())] == [(float(length),) for length in lengths]
    assert sorted(length for batch in classifier.batches for length in batch) == sorted(lengths)
    assert all(len(batch) <= BATCH and batch == sorted(batch) for batch in classifier.batches)
    assert len(classifier.batches) <= 4


def test_a_batch_that_fails_fails_its_callers_and_no_others():
    classifier = CountingClassifier()

    async def ask() -> list[object]:
        batcher = Batcher(classifier, workers=1)
        bad = await asyncio.gather(batcher.judge("x" * 13), return_exceptions=True)
        good = await batcher.judge("x" * 14)
        batcher.close()
        return [*bad, good]

    failure, good = asyncio.run(ask())
    assert str(failure) == "thirteen"
    assert good == Judgement((14.0,), 1.0)

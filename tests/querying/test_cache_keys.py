import pytest

from distillery.api.v1alpha1.task import Output
from distillery.api.v1alpha1.teacher import Parameters, RateLimits
from distillery.querying.answers import Question
from distillery.querying.cache import key_base, question_key, teacher_digest
from querying_builders import make_settings

MESSAGES = [{"role": "user", "content": "hello"}]


def key(question=None, **changes):
    settings = make_settings(**changes)
    return question_key(key_base(settings), settings, question or Question("r1", MESSAGES))


def make_json(schema):
    return Output(format="json", schema=schema)


CHANGES = {
    "identity": {"identity": "other"},
    "model": {"model": "other"},
    "revision": {"revision": "2026-11"},
    "temperature": {"parameters": Parameters(max_tokens=16, temperature=0.5)},
    "max tokens": {"parameters": Parameters(max_tokens=17)},
    "top p": {"parameters": Parameters(max_tokens=16, top_p=0.9)},
    "stop": {"parameters": Parameters(max_tokens=16, stop=["\n"])},
    "seed": {"parameters": Parameters(max_tokens=16, seed=1)},
    "schema": {"output": make_json({"type": "object"})},
}
QUESTIONS = {
    "text": Question("r1", [{"role": "user", "content": "hello!"}]),
    "role": Question("r1", [{"role": "system", "content": "hello"}]),
    "sample": Question("r1", MESSAGES, 1),
    "own temperature": Question("r1", MESSAGES, 0, 0.7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_answers_changes_the_key(change):
    assert key(**CHANGES[change]) != key()


@pytest.mark.parametrize("change", QUESTIONS)
def test_every_part_of_a_question_changes_the_key(change):
    assert key(QUESTIONS[change]) != key()


def test_all_changes_give_different_keys():
    keys = {key(**change) for change in CHANGES.values()} | {key(one) for one in QUESTIONS.values()}
    assert len(keys) == len(CHANGES) + len(QUESTIONS)


def test_address_row_id_labels_prices_and_top_logprobs_do_not_change_the_key():
    same = key(
        Question("another-row", MESSAGES, 0, 0.0),
        url="http://elsewhere/v1",
        pricing=None,
        output=Output(format="label", labels=["x", "y"]),
        parameters=Parameters(max_tokens=16, top_logprobs=20),
        rate_limits=RateLimits(concurrency=1),
    )
    assert same == key()


def test_keys_never_change_between_releases():
    assert key() == "c5c96384d311f998e655c6caf76bfc04f388c5504b35cc853c4f0a8b0a59c2b4"
    assert (
        teacher_digest(make_settings()) == "17476f5b9c76ea5536ecb8126b05261b3c64bfef4cbe332b8e6035591dd9b126"
    )

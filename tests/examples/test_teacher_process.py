"""The teacher with its real weights: as a process of its own, and repeatable whatever shares a batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import tickets

import children

pytestmark = pytest.mark.timeout(300)
KEY = "a-key-that-only-this-test-knows"
ASKED = ("My invoice for May is wrong, you charged me twice", "the parcel has not arrived", "I cannot log in")


@pytest.fixture(scope="module")
def classifier():
    from weights import find_model
    from zero_shot import ZeroShot

    return ZeroShot(find_model())


@pytest.fixture(scope="module")
def url():
    command = [sys.executable, str(Path(tickets.__file__).with_name("teacher.py"))]
    with children.running(
        [*command, "--until-stdin-ends", "--api-key-env", "TEST_TEACHER_KEY"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TEST_TEACHER_KEY": KEY},
    ) as process:
        yield process.stdout.readline().decode().strip()
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def call(url: str, path: str, body: object = None, key: str = KEY) -> tuple[int, dict]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def ask(text: str, **changes: object) -> dict:
    return {"model": "minilm-zero-shot", "messages": [{"role": "user", "content": text}], **changes}


def test_it_routes_plain_tickets_over_http(url):
    answers = [call(url, "/chat/completions", ask(text)) for text in ASKED]
    assert [status for status, _ in answers] == [200, 200, 200]
    said = [body["choices"][0]["message"]["content"] for _, body in answers]
    assert said == ["billing", "shipping", "login"]
    assert all(body["usage"]["prompt_tokens"] > 5 for _, body in answers)


def test_it_lists_its_model_and_demands_its_key(url):
    status, body = call(url, "/models")
    assert (status, [model["id"] for model in body["data"]]) == (200, ["minilm-zero-shot"])
    status, body = call(url, "/models", key="wrong")
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")
    assert KEY not in json.dumps(body)


def test_it_tells_what_is_wrong_with_a_request(url):
    status, body = call(url, "/chat/completions", ask("hello", n=3))
    assert (status, body["error"]["message"]) == (400, "stream and n > 1 are not supported")


def test_a_row_is_judged_alike_alone_and_in_any_batch(classifier):
    texts = [f"{row['subject']}\n{row['body']}" for row in tickets.generate(24, seed=5)]
    rows = [classifier.tokens(text) for text in texts]
    alone = [classifier.judge([row])[0] for row in rows]
    assert classifier.judge(rows) == alone
    assert classifier.judge(rows[::-1])[::-1] == alone
    assert [judged for at in range(0, 24, 7) for judged in classifier.judge(rows[at : at + 7])] == alone


@pytest.mark.long
def test_it_is_right_about_most_tickets_and_unsure_about_some(classifier):
    rows = tickets.generate(80, seed=5)
    judged = classifier.judge([classifier.tokens(f"{row['subject']}\n{row['body']}") for row in rows])
    chosen = [classifier.categories[max(range(7), key=found.scores.__getitem__)] for found in judged]
    right = sum(label == row["category"] for label, row in zip(chosen, rows, strict=True))
    sure = sum(max(found.log_probs()) > -0.1 for found in judged)
    assert right > 0.85 * len(rows)
    assert 0.2 * len(rows) < sure < 0.8 * len(rows)

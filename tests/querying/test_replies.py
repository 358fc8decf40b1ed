import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.querying.answers import TokenLogprob, Usage
from distillery.querying.replies import (
    AccessDenied,
    Completed,
    Failed,
    RateLimited,
    Rejected,
    read_reply,
)

NOW = 1_800_000_000.0
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}


def reply(message, usage=USAGE, **choice):
    choices = [{"index": 0, "message": {"role": "assistant", **message}, **choice}]
    return {"id": "x", "model": "large-2", "system_fingerprint": "fp", "choices": choices, "usage": usage}


def read(body, status=200, headers=None):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_reply(status, headers or {}, raw, NOW)


def error(message="no", code=None, kind=None):
    return {"error": {"message": message, "code": code, "type": kind}}


def completed(**changes):
    fields = {
        "text": "billing",
        "finish_reason": "stop",
        "refusal": None,
        "usage": Usage(9, 4, 2),
        "model": "large-2",
        "fingerprint": "fp",
        "logprobs": None,
    }
    return Completed(**(fields | changes))


ANSWERS = {
    "a plain answer": (reply({"content": "billing"}, finish_reason="stop"), completed()),
    "a truncated answer is paid": (
        reply({"content": "bill"}, finish_reason="length"),
        completed(text="bill", finish_reason="length"),
    ),
    "a refusal is paid": (
        reply({"content": None, "refusal": "I can't"}, finish_reason="stop"),
        completed(text="", refusal="I can't"),
    ),
    "filtered content is paid": (
        reply({"content": None}, finish_reason="content_filter"),
        completed(text="", finish_reason="content_filter"),
    ),
    "a list of parts is joined": (
        reply(
            {"content": [{"type": "text", "text": "bil"}, {"type": "text", "text": "ling"}]},
            finish_reason="stop",
        ),
        completed(),
    ),
    "usage without details": (
        reply({"content": "billing"}, {"prompt_tokens": 9, "completion_tokens": 2}, finish_reason="stop"),
        completed(usage=Usage(9, 0, 2)),
    ),
    "null details": (
        reply(
            {"content": "billing"},
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None},
            finish_reason="stop",
        ),
        completed(usage=Usage(9, 0, 2)),
    ),
    "no usage at all": (reply({"content": "billing"}, None, finish_reason="stop"), completed(usage=None)),
    "nothing but the text": (
        {"choices": [{"message": {"content": "billing"}}]},
        completed(finish_reason=None, usage=None, model=None, fingerprint=None),
    ),
    "log-probabilities": (
        reply(
            {"content": "billing"},
            finish_reason="stop",
            logprobs={
                "content": [
                    {
                        "token": "bill",
                        "logprob": -0.12345678,
                        "bytes": [98],
                        "top_logprobs": [{"token": "bill", "logprob": -0.12345678, "bytes": None}],
                    },
                    {"token": "ing", "logprob": 0, "top_logprobs": []},
                ]
            },
        ),
        completed(
            logprobs=[
                TokenLogprob("bill", -0.123457, [("bill", -0.123457)]),
                TokenLogprob("ing", 0, []),
            ]
        ),
    ),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_is_read(case):
    body, want = ANSWERS[case]
    assert read(body) == want


FAILURES = {
    "garbage may have been billed": (
        b"\xff{",
        200,
        Failed("UnreadableReply", "the reply is no chat completion: it begins with '�{'", "unknown"),
    ),
    "an empty body too": (
        b"",
        200,
        Failed("UnreadableReply", "the reply is no chat completion: it is empty", "unknown"),
    ),
    "another shape too": (
        {"choices": "none"},
        200,
        Failed(
            "UnreadableReply",
            'the reply is no chat completion: it begins with \'{"choices": "none"}\'',
            "unknown",
        ),
    ),
    "no choices, billed": (
        {"choices": [], "usage": USAGE},
        200,
        Failed("NoChoices", "the reply holds no choices", "yes", Usage(9, 4, 2)),
    ),
    "no choices, nobody knows": (
        {"choices": []},
        200,
        Failed("NoChoices", "the reply holds no choices", "unknown"),
    ),
    "an error inside a 200": (
        error("upstream broke"),
        200,
        Failed("ServerError", "HTTP 200 with an error: upstream broke"),
    ),
    "500": (error("oops"), 500, Failed("ServerError", "HTTP 500: oops")),
    "503 with a web page": (b"<html>", 503, Failed("ServerError", "HTTP 503: <html>")),
    "408": (error("slow"), 408, Failed("ServerError", "HTTP 408: slow")),
    "409": (error("again"), 409, Failed("ServerError", "HTTP 409: again")),
    "400 is the row's": (error("too long"), 400, Rejected("RequestRejected", "HTTP 400: too long")),
    "422 is the row's": (error("what"), 422, Rejected("RequestRejected", "HTTP 422: what")),
    "413 is the row's": (b"", 413, Rejected("RequestRejected", "HTTP 413")),
    "a content policy is the row's": (
        error("blocked", "content_filter"),
        400,
        Rejected("ContentFiltered", "HTTP 400: blocked"),
    ),
    "401": (error("bad key"), 401, AccessDenied(401, "HTTP 401: bad key")),
    "402": (error("pay"), 402, AccessDenied(402, "HTTP 402: pay")),
    "403": (error("no"), 403, AccessDenied(403, "HTTP 403: no", of_row=True)),
    "404": ({"detail": "Not Found"}, 404, AccessDenied(404, "HTTP 404", of_row=True)),
    "an error that is a string": (
        {"error": "no such model"},
        404,
        AccessDenied(404, "HTTP 404: no such model", of_row=True),
    ),
    "no quota left, said with 403": (
        error("pay", "insufficient_quota"),
        403,
        AccessDenied(403, "HTTP 403: pay"),
    ),
    "no quota left": (
        error("quota", "insufficient_quota"),
        429,
        AccessDenied(429, "HTTP 429: quota"),
    ),
    "no quota left, said in the type": (
        error("quota", None, "insufficient_quota"),
        429,
        AccessDenied(429, "HTTP 429: quota"),
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_sorted(case):
    body, status, want = FAILURES[case]
    assert read(body, status) == want


WAITS = {
    "milliseconds": ({"retry-after-ms": "250", "Retry-After": "9"}, 0.25),
    "seconds": ({"Retry-After": "7"}, 7.0),
    "fractions": ({"Retry-After": "0.5"}, 0.5),
    "a date": ({"Retry-After": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
    "a date in the past": ({"Retry-After": "Fri, 15 Jan 2021 08:00:30 GMT"}, 0.0),
    "negative": ({"Retry-After": "-5"}, 0.0),
    "nothing": ({}, None),
    "nonsense": ({"Retry-After": "soon"}, None),
    "not a number": ({"retry-after-ms": "nan"}, None),
    "infinite": ({"Retry-After": "inf"}, None),
}


@pytest.mark.parametrize("case", WAITS)
def test_a_rate_refusal_says_how_long_to_wait(case):
    headers, want = WAITS[case]
    assert read(error("slow down"), 429, headers) == RateLimited("HTTP 429: slow down", want)


def test_a_redirect_is_not_followed_but_named():
    assert read(b"", 301, {"Location": "https://new/v1"}) == AccessDenied(
        301, "HTTP 301: the address redirects to https://new/v1"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "usage", "logprobs", "error", "code", "token", "model"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([200, 201, 301, 400, 401, 404, 429, 500]))
def test_whatever_json_comes_back_it_is_sorted(value, status):
    outcome = read(value, status)
    assert isinstance(outcome, Completed | Failed | RateLimited | AccessDenied | Rejected)


@given(st.binary(max_size=200), st.sampled_from([200, 400, 429, 500]), st.text(max_size=20))
def test_whatever_bytes_come_back_they_are_sorted(body, status, header):
    outcome = read_reply(status, {"Retry-After": header, "retry-after-ms": header}, body, NOW)
    assert not isinstance(outcome, Completed)

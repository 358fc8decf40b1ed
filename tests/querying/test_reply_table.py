"""The table "What a reply means" of docs/teacher-engine.md, row by row, tried on the code that it describes."""

import json
import re
from pathlib import Path

import pytest

from distillery.querying.client import TransportError
from distillery.querying.dispatch import reply_of
from distillery.querying.history import RowHistory, TeacherHistory
from distillery.querying.limits import EngineOptions
from distillery.querying.replies import Completed, RateLimited, read_reply
from distillery.querying.retry import (
    DENIED_LIMIT,
    MAX_TRIES,
    REJECTED_LIMIT,
    STARTUP_TRIES,
    AwaitReplies,
    LeaveUnanswered,
    Retry,
    TeacherRefuses,
    after_failure,
    after_round,
    before_call,
)

PAGE = Path(__file__).parents[2] / "docs/teacher-engine.md"
OPTIONS = EngineOptions()


def table():
    """The rows of the table: what stands left, what stands right."""
    section = PAGE.read_text().split("## What a reply means", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return dict(rows[1:])


def status(number, body=b"{}", **headers):
    return read_reply(number, headers, body, now=0.0)


def chat(**choice):
    choice = {"message": {"content": "billing"}, "finish_reason": "stop", **choice}
    return status(200, json.dumps({"choices": [choice]}).encode())


def error(number, code):
    return status(number, json.dumps({"error": {"message": "no", "code": code}}).encode())


def lost(kind):
    return reply_of(TransportError(kind, "no"))


def ask(reply, calls, *, answered=False, rows=False, between=False):
    """Return what follows a reply that came so often: to one row, or to as many rows.

    Args:
        reply: what each call comes to.
        calls: how many there are.
        answered: the teacher has answered before.
        rows: each is about another row.
        between: another row is answered between two of them.
    """
    teacher = TeacherHistory.begin(OPTIONS, 10**6).beside(10**6, fresh_left=True)
    teacher = teacher.with_answer(0.0) if answered else teacher
    history, now, decision = RowHistory("0", "0"), 0.0, None
    for call in range(calls):
        now += 1.0
        history = RowHistory(str(call), str(call)) if rows else history
        history = history.with_call(now - 0.1).with_failure(reply, teacher, now, luck=0.0)
        teacher = teacher.with_failure(history, now)
        decision = after_failure(history, teacher, now)
        if between:
            teacher = teacher.with_answer(now + 0.5)
    return decision, teacher


def is_left(decision, *reasons):
    return isinstance(decision, LeaveUnanswered) and decision.reason in reasons


def answers(reply, _):
    assert isinstance(reply, Completed)


def tried_thrice(reply, says):
    assert numbers(says) == [MAX_TRIES["NoChoices"]] == [MAX_TRIES["UnreadableReply"]]
    assert isinstance(ask(reply, 2, answered=True)[0], Retry)
    assert is_left(ask(reply, 3, answered=True)[0], "NoChoices", "UnreadableReply")


def backs_off(reply, says):
    first, last, tries = numbers(says)
    assert (first, last) == (OPTIONS.backoff_seconds, OPTIONS.longest_backoff_seconds)
    tries = int(tries)
    assert tries == MAX_TRIES["ServerError"] == MAX_TRIES["ConnectionLost"]
    assert isinstance(ask(reply, tries - 1, answered=True, between=True)[0], Retry)
    assert is_left(ask(reply, tries, answered=True, between=True)[0], "ServerError", "ConnectionLost")
    assert isinstance(ask(reply, tries)[0], Retry)  # nobody is answered: none of these counts


def hangs(reply, says):
    assert numbers(says) == [MAX_TRIES["TimedOut"]]
    assert STARTUP_TRIES["TimedOut"] == 1
    assert isinstance(ask(reply, 2, answered=True)[0], Retry)
    assert is_left(ask(reply, 3, answered=True)[0], "TimedOut")
    assert is_left(ask(reply, 1)[0], "TimedOut")


def pauses(reply, _):
    assert isinstance(reply, RateLimited)
    decision, teacher = ask(reply, 1)
    assert decision == Retry(1.0)
    assert teacher.paused_until == 1.0 + (OPTIONS.backoff_seconds if reply.wait is None else reply.wait)
    assert isinstance(ask(reply, 100)[0], Retry)


def leaves_the_row(reply, says):
    assert numbers(says) == [REJECTED_LIMIT]
    assert is_left(ask(reply, 1)[0], "RequestRejected", "ContentFiltered")
    assert isinstance(ask(reply, REJECTED_LIMIT, rows=True)[0], TeacherRefuses)
    assert is_left(
        ask(reply, 2 * REJECTED_LIMIT, rows=True, answered=True)[0], "RequestRejected", "ContentFiltered"
    )


def refuses(reply, _):
    assert isinstance(ask(reply, 1, answered=True)[0], TeacherRefuses)


def leaves_the_row_or_refuses(reply, says):
    assert numbers(says) == [DENIED_LIMIT]
    decision, teacher = ask(reply, DENIED_LIMIT, answered=True, rows=True)
    assert is_left(decision, "RequestRejected")
    assert before_call(teacher, 100.0) == AwaitReplies()
    assert isinstance(before_call(teacher.beside(0, fresh_left=True), 100.0), TeacherRefuses)
    assert after_round(teacher) is None
    assert before_call(ask(reply, DENIED_LIMIT - 1, rows=True)[1], 100.0) is None
    assert before_call(ask(reply, 2 * DENIED_LIMIT, rows=True, between=True)[1], 100.0) is None
    assert isinstance(after_round(ask(reply, 1)[1]), TeacherRefuses)


def numbers(says):
    """The numbers of a cell, apart from what stands in brackets about a teacher that has never answered."""
    return [float(number) for number in re.findall(r"\b\d+(?:\.\d+)?\b", re.sub(r"\(once[^)]*\)", "", says))]


ROWS = {
    "200 with a choice, also truncated, refused, filtered": (
        answers,
        [chat(), chat(finish_reason="length"), chat(finish_reason="content_filter")],
    ),
    "200 without choices, or no chat completion at all": (
        tried_thrice,
        [status(200, b'{"choices": []}'), status(200, b"<html>"), lost("too-large")],
    ),
    "408, 409, 425, 5xx, an error inside a 200, lost connection": (
        backs_off,
        [
            *map(status, (408, 409, 425, 500, 503, 529)),
            status(200, b'{"error": {"message": "overloaded"}}'),
            lost("lost"),
            lost("unsent"),
        ],
    ),
    "no reply within 600 s": (hangs, [lost("timeout")]),
    "429": (
        pauses,
        [status(429), status(429, **{"retry-after-ms": "1500"}), status(429, **{"Retry-After": "20"})],
    ),
    "400, 413, 422 and other 4xx": (
        leaves_the_row,
        [*map(status, (400, 413, 418, 422, 451)), error(400, "content_filter")],
    ),
    "401, 402, 405, 407, `insufficient_quota`, redirects, a bad certificate": (
        refuses,
        [*map(status, (401, 402, 405, 407, 301, 307)), error(429, "insufficient_quota"), lost("unreachable")],
    ),
    "403, 404, 410": (leaves_the_row_or_refuses, [*map(status, (403, 404, 410))]),
}


def test_the_table_has_the_rows_that_are_tried_here():
    assert list(table()) == list(ROWS)
    assert f"{OPTIONS.timeout_seconds:g} s" in "".join(table())


@pytest.mark.parametrize("left", ROWS)
def test_what_the_table_says_of_a_reply_is_what_follows_it(left):
    consequence, replies = ROWS[left]
    for reply in replies:
        consequence(reply, table()[left])

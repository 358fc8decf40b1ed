import random

import pytest

from distillery.artifacts.tables import COMPLETIONS, read_table, write_table
from distillery.errors import StageFailed
from distillery.querying.answers import Answer, Question, TokenLogprob, Unanswered, Usage
from distillery.stages.teacher.completions import (
    check_failures,
    completion_rows,
    completions_digest,
    count_rows,
)


def make_answer(number, sample_index=0, **fields):
    values = {
        "text": "billing",
        "finish_reason": "stop",
        "refusal": None,
        "usage": Usage(9, 2, 1),
        "model": "large",
        "fingerprint": "fp",
        "logprobs": [TokenLogprob("billing", -0.5, [("billing", -0.5), ("login", -1.5)])],
        "cached": False,
        "seconds": 0.25,
    }
    return Answer(Question(f"r{number}", [], sample_index), f"key{number}", **(values | fields))


def make_failure(number, reason="ServerError", usage=None):
    return Unanswered(Question(f"r{number}", []), f"key{number}", reason, "HTTP 500: oops", usage)


SPLITS = {f"r{number}": "train" for number in range(100)}


def test_the_table_holds_every_question(tmp_path):
    results = [make_failure(2, usage=Usage(5, 0, 0)), make_answer(0, 1), make_answer(0)]
    rows = completion_rows(results, SPLITS)
    path = tmp_path / "completions.parquet"
    write_table(path, COMPLETIONS, rows)
    stored = read_table(path, COMPLETIONS)
    assert stored == rows
    assert [(row["row_id"], row["sample_index"], row["status"]) for row in stored] == [
        ("r0", 0, "answered"),
        ("r0", 1, "answered"),
        ("r2", 0, "failed"),
    ]
    assert (stored[2]["reason"], stored[2]["prompt_tokens"], stored[2]["text"]) == ("ServerError", 5, None)
    assert count_rows(rows) == {"asked": 2, "answered": 1, "failed": 1, "extraSamples": 1, "extraFailed": 0}


def test_the_digest_is_that_of_the_table_as_stored(tmp_path):
    rows = completion_rows([make_answer(0), make_failure(1)], SPLITS)
    write_table(tmp_path / "completions.parquet", COMPLETIONS, rows)
    assert completions_digest(read_table(tmp_path / "completions.parquet", COMPLETIONS)) == (
        completions_digest(rows)
    )


def test_the_digest_ignores_order_and_what_depends_on_the_day():
    results = [make_answer(number) for number in range(20)] + [make_failure(30)]
    digest = completions_digest(completion_rows(results, SPLITS))
    random.Random(1).shuffle(results)
    later = [
        make_answer(
            int(result.question.row_id[1:]), usage=Usage(9, 9, 1), fingerprint="new", cached=True, seconds=9.0
        )
        if isinstance(result, Answer)
        else make_failure(30, "TimedOut")
        for result in results
    ]
    assert completions_digest(completion_rows(later, SPLITS)) == digest


@pytest.mark.parametrize(
    "change",
    [
        {"text": "login"},
        {"finish_reason": "length"},
        {"refusal": "no"},
        {"usage": Usage(9, 2, 2)},
        {"logprobs": None},
    ],
)
def test_the_digest_sees_whatever_later_stages_read(change):
    before = completions_digest(completion_rows([make_answer(0)], SPLITS))
    assert completions_digest(completion_rows([make_answer(0, **change)], SPLITS)) != before


def test_failures_up_to_the_allowed_share_are_data():
    check_failures([make_answer(n) for n in range(98)] + [make_failure(98), make_failure(99)], 0.02)
    check_failures([], 0.0)


def test_failures_of_extra_samples_do_not_count_as_rows():
    extra = Unanswered(Question("r0", [], 1), "k", "ServerError", "HTTP 500")
    check_failures([make_answer(0), extra], 0.0)


def test_too_many_failures_name_reasons_and_an_example():
    results = [make_answer(n) for n in range(90)] + [make_failure(n) for n in range(90, 97)]
    results += [make_failure(n, "RequestRejected") for n in range(97, 100)]
    with pytest.raises(StageFailed) as failure:
        check_failures(results, 0.05)
    assert "10 of 100 rows" in failure.value.message
    assert "ServerError 7, RequestRejected 3" in failure.value.message
    assert "row 'r90': HTTP 500: oops" in failure.value.message
    assert failure.value.failure_class == "infrastructure"


def test_a_sample_must_be_certain():
    few = [make_answer(n) for n in range(9)] + [make_failure(9)]
    check_failures(few, 0.02, certain=True)
    with pytest.raises(StageFailed):
        check_failures(few * 10, 0.02, certain=True)

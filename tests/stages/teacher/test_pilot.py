from collections import Counter

import pytest

from distillery.api.v1alpha1.filter import Filter
from distillery.api.v1alpha1.task import Output
from distillery.errors import StageFailed
from distillery.querying.answers import Answer, Question, TokenLogprob, Unanswered, Usage
from distillery.stages.teacher.pilot import Share, check_pilot, judge_pilot, pilot_warning

OUTPUT = Output(format="label", labels=["billing", "login"])


def make_answer(number, text="billing", sample_index=0, **fields):
    return Answer(
        question=Question(f"r{number}", [], sample_index),
        key="k",
        text=text,
        **{
            "finish_reason": "stop",
            "refusal": None,
            "usage": Usage(5, 0, 1),
            "model": "m",
            "fingerprint": None,
            "logprobs": None,
            "cached": False,
            "seconds": 0.1,
            **fields,
        },
    )


def judge(results, references=None):
    names = sorted({result.question.row_id for result in results})
    rows = [
        {"row_id": name, "split": "train", "reference": (references or {}).get(name), "slices": []}
        for name in names
    ]
    return judge_pilot(rows, results, OUTPUT, Filter())


def test_answers_are_counted_by_what_the_rules_say():
    pilot = judge(
        [
            make_answer(0),
            make_answer(1, "who knows"),
            make_answer(2, "", refusal="I can't"),
            make_answer(3, finish_reason="length"),
            Unanswered(Question("r4", []), "k", "ServerError", "HTTP 500"),
        ]
    )
    assert pilot.accepted == Share(1, 4)
    assert pilot.unanswered == Counter({"ServerError": 1})
    wire = pilot.to_wire(0.5)
    assert wire["accepted"] == {"count": 1, "of": 4, "share": 0.25, "interval": [0.0456, 0.6994]}
    assert (wire["correct"], wire["selfAgreement"]) == (None, None)
    assert sorted(one["reason"] for one in wire["rejections"]) == [
        "cut off at the token limit",
        "empty answer",
        "not one of the labels",
    ]
    examples = [example for one in wire["rejections"] for example in one["examples"]]
    assert {"rowId": "r1", "text": "who knows"} in examples


def test_answers_are_compared_with_references_where_there_are_any():
    results = [make_answer(0), make_answer(1), make_answer(2, "LOGIN ")]
    assert judge(results, {"r0": "billing", "r2": "login"}).correct == Share(2, 2)
    assert judge(results, {"r0": "login"}).correct == Share(0, 1)


def test_extra_samples_show_whether_the_teacher_agrees_with_itself():
    results = [make_answer(0), make_answer(0, "login", 1), make_answer(0, "billing", 2)]
    assert judge(results).consistent == Share(1, 2)


def test_alternatives_are_noticed():
    with_top = [TokenLogprob("b", -0.1, [("b", -0.1)])]
    without = [TokenLogprob("b", -0.1, [])]
    results = [make_answer(0, logprobs=with_top), make_answer(1, logprobs=without), make_answer(2)]
    assert judge(results).with_alternatives == 1


@pytest.mark.parametrize(
    ("bad", "rows", "stops"), [(40, 64, True), (30, 64, False), (3, 4, False), (0, 9, False)]
)
def test_only_certainty_stops(bad, rows, stops):
    pilot = judge([make_answer(n, "nonsense" if n < bad else "billing") for n in range(rows)])
    if not stops:
        check_pilot(pilot, 0.5)
        return
    with pytest.raises(StageFailed, match="pass the filter's rules") as failure:
        check_pilot(pilot, 0.5)
    assert (failure.value.reason, failure.value.failure_class) == ("PilotRejected", "pilot")


def test_a_pilot_without_answers_says_nothing_about_acceptance():
    check_pilot(judge([]), 0.9)
    assert pilot_warning(judge([]), 0.2) is None


def test_fewer_than_expected_warns():
    pilot = judge([make_answer(n, "nonsense" if n < 3 else "billing") for n in range(10)])
    assert pilot_warning(pilot, 0.3) is None
    assert "7 of 10 pilot answers" in (pilot_warning(pilot, 0.2) or "")

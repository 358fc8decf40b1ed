from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, log, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.api.v1alpha1.task import Output
from distillery.rules.label_distribution import LabelDistribution, Step, label_distribution
from distillery.rules.label_prefixes import NO_LABEL, SEVERAL_LABELS, LabelPrefixes
from distillery.rules.normalising import normalise

TICKETS = ["bug", "bug report", "refund"]
END = "<|im_end|>"


def step(token: str, /, **probabilities: float) -> Step:
    """A step whose generated token is one of the listed ones; `_` stands for a space, `END` for the end."""
    top = [(_token(name), log(value)) for name, value in probabilities.items()]
    return token, dict(top)[token], top


def _token(name: str) -> str:
    return END if name == "END" else name.replace("_", " ")


@dataclass
class Case:
    steps: list[Step]
    resolved: list[float]
    unresolved: float = 0.0
    tail: float = 0.0
    labels: Sequence[str] = ("bug", "bug report", "refund")


CASES = {
    "a unique label takes the mass of its token": Case([step("ref", ref=0.9, x=0.1)], [0, 0, 0.9], tail=0.1),
    "what is not listed is tail": Case([step("refund", refund=0.7)], [0, 0, 0.7], tail=0.3),
    "an alternative that fits several labels is unresolved": Case(
        [step("ref", ref=0.8, bu=0.2)], [0, 0, 0.8], unresolved=0.2
    ),
    "the generated token's mass moves on until its label is unique": Case(
        [step("bug", bug=0.7, ref=0.2, the=0.1), step(" report", _report=0.9, END=0.1)],
        [0.07, 0.63, 0.2],
        tail=0.1,
    ),
    "the end of the answer decides for the shorter label": Case(
        [step("bug", bug=1.0), step(END, _report=0.25, END=0.75)], [0.75, 0.25, 0]
    ),
    "punctuation decides for it too": Case([step("bug", bug=1.0), step(".", **{".": 1.0})], [1.0, 0, 0]),
    "without a listed end the shorter label stays unresolved": Case([step("bug", bug=1.0)], [0, 0, 0], 1.0),
    "an end before any label is tail": Case([step("ref", ref=0.5, END=0.5)], [0, 0, 0.5], tail=0.5),
    "case, blanks and decoration do not matter": Case(
        [step("Refund", Refund=0.4, **{" refund": 0.2, "\n\nREF": 0.2, '"ref': 0.1, "**Ref": 0.1})],
        [0, 0, 1.0],
    ),
    "decoration alone leaves all labels open": Case(
        [step("**", **{"**": 0.5, "ref": 0.3, " ": 0.2}), step("ref", ref=1.0)], [0, 0, 0.8], unresolved=0.2
    ),
    "separators within a label do not matter": Case(
        [
            step("bug", bug=1.0),
            ("_", log(0.5), [(END, log(0.5))]),
            step("report", report=1.0),
        ],
        [0.5, 0.5, 0],
    ),
    "raw vocabularies mark blanks": Case([step("▁ref", **{"▁ref": 0.5, "Ġref": 0.5})], [0, 0, 1.0]),
    "a generated token that is not among the listed counts as well": Case(
        [("ref", log(0.5), [("bug report", log(0.25)), ("no", log(0.25))])], [0, 0.25, 0.5], tail=0.25
    ),
    "only one of several tokens of the same text was generated": Case(
        [
            ("bu", log(0.5), [("bu", log(0.25)), ("bu", log(0.5)), ("ref", log(0.25))]),
            step("g report", **{"g report": 1.0}),
        ],
        [0, 0.5, 0.25],
        unresolved=0.25,
    ),
    "part of a character leaves open what it allows": Case(
        [step("�", **{"�": 0.6, "да": 0.4})], [0.4, 0], unresolved=0.6, labels=["да", "нет"]
    ),
    "signs belong to labels": Case(
        [step("-", **{"-": 0.75, "0": 0.25}), step("1", **{"1": 1.0})],
        [0.75, 0.25, 0],
        labels=["-1", "0", "1"],
    ),
    "an accent may come with the next token": Case(
        [step("caf", caf=0.5, cafe=0.25, café=0.25)], [1.0, 0], labels=["café", "bar"]
    ),
    "an answer without logprobs says nothing": Case([], [0, 0, 0], unresolved=1.0),
    "impossible numbers count as nothing": Case(
        [("ref", log(0.5), [("bug report", -inf), ("bug", nan), ("x", -9999.0)])], [0, 0, 0.5], tail=0.5
    ),
    "sums above one are scaled": Case(
        [("ref", 0.0, [("ref", 0.0), ("bug report", log(0.25))])], [0, 0.2, 0.8]
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_mass_goes_where_it_belongs(case: str) -> None:
    want = CASES[case]
    found = label_distribution(want.steps, want.labels)
    total = sum(want.resolved)
    assert (found.resolved, found.unresolved, found.tail) == pytest.approx(
        (total, want.unresolved, want.tail)
    )
    if total:
        assert found.probabilities == pytest.approx([mass / total for mass in want.resolved])
    else:
        assert found.probabilities is None


@pytest.mark.parametrize(
    ("distribution", "want"),
    [
        (LabelDistribution((1.0, 0.0), 0.9, 0.05, 0.05), True),
        (LabelDistribution((1.0, 0.0), 0.89, 0.05, 0.06), False),
        (LabelDistribution(None, 0.0, 0.0, 0.0), False),
    ],
)
def test_a_tenth_may_stay_unassigned(distribution: LabelDistribution, want: bool) -> None:
    assert distribution.usable is want


Sequences = Mapping[tuple[str, ...], float]
"""Every answer the teacher can give, as tokens with the end, and its probability."""


@st.composite
def teachers(draw: st.DrawFn) -> tuple[list[str], Sequences, tuple[str, ...]]:
    """Labels, a teacher that gives them in any tokenisation or says something else, one of its answers."""
    labels = draw(
        st.lists(st.from_regex(r"[ab]{1,4}c?", fullmatch=True), min_size=2, max_size=5, unique=True)
    )
    weights: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for _ in range(draw(st.integers(1, 8))):
        word = draw(st.sampled_from([*labels, "zz", "zebra"]))
        cuts = draw(st.sets(st.integers(1, len(word)), max_size=3)) - {len(word)}
        edges = [0, *sorted(cuts), len(word)]
        tokens = tuple(word[start:end] for start, end in pairwise(edges))
        weights[(*tokens, END)] += draw(st.floats(0.01, 1.0))
    total = sum(weights.values())
    answer = draw(st.sampled_from(sorted(weights)))
    return labels, {tokens: weight / total for tokens, weight in weights.items()}, answer


def steps_of(teacher: Sequences, answer: tuple[str, ...], top: int = 100) -> list[Step]:
    """What the teacher's API returns for the answer: each token with the alternatives after the same path."""
    steps: list[Step] = []
    for index, token in enumerate(answer):
        following: defaultdict[str, float] = defaultdict(float)
        for tokens, probability in teacher.items():
            if tokens[:index] == answer[:index]:
                following[tokens[index]] += probability
        total = sum(following.values())
        listed = sorted(
            ((other, log(mass / total)) for other, mass in following.items()), key=lambda x: -x[1]
        )
        steps.append((token, dict(listed)[token], listed[:top]))
    return steps


def enumerate_masses(labels: list[str], teacher: Sequences, answer: tuple[str, ...]) -> dict[str, float]:
    """Follow every possible answer to where it leaves the given one, or to where one label is left."""
    masses = dict.fromkeys([*labels, "unresolved", "tail"], 0.0)
    for tokens, probability in teacher.items():
        for index in range(len(tokens)):
            text = "".join(token for token in tokens[: index + 1] if token != END)
            complete = tokens[index] == END
            fitting = [label for label in labels if (label == text if complete else label.startswith(text))]
            if len(fitting) < 2 or tokens[index] != answer[index]:
                break
        masses["tail" if not fitting else fitting[0] if len(fitting) == 1 else "unresolved"] += probability
    return masses


@given(teachers())
def test_the_masses_are_those_of_a_full_enumeration(
    case: tuple[list[str], Sequences, tuple[str, ...]],
) -> None:
    labels, teacher, answer = case
    want = enumerate_masses(labels, teacher, answer)
    found = label_distribution(steps_of(teacher, answer), labels)
    assert (found.unresolved, found.tail) == pytest.approx((want["unresolved"], want["tail"]), abs=1e-9)
    masses = [share * found.resolved for share in found.probabilities or [0.0] * len(labels)]
    assert masses == pytest.approx([want[label] for label in labels], abs=1e-9)


@given(teachers(), st.integers(0, 3))
def test_the_truth_lies_within_what_is_unassigned(
    case: tuple[list[str], Sequences, tuple[str, ...]], top: int
) -> None:
    labels, teacher, answer = case
    found = label_distribution(steps_of(teacher, answer, top), labels)
    truth = dict.fromkeys(labels, 0.0)
    for tokens, probability in teacher.items():
        text = "".join(tokens[:-1])
        if text in truth:
            truth[text] += probability
    for label, share in zip(labels, found.probabilities or [0.0] * len(labels), strict=True):
        mass = share * found.resolved
        assert mass - 1e-9 <= truth[label] <= mass + found.unresolved + found.tail + 1e-9


logprobs = st.floats(max_value=0.5) | st.just(nan)
alternatives = st.tuples(st.text(max_size=4) | st.sampled_from(["b", " bug", END, "�"]), logprobs)


@given(
    st.lists(
        st.tuples(st.text(max_size=4) | st.sampled_from(["b", "ug", "."]), logprobs, st.lists(alternatives))
    )
)
def test_any_logprobs_give_a_distribution(steps: list[Step]) -> None:
    found = label_distribution(steps, TICKETS)
    parts = (found.resolved, found.unresolved, found.tail)
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(1.0)
    if found.probabilities is not None:
        assert min(found.probabilities) >= 0
        assert sum(found.probabilities) == pytest.approx(1.0)


odd_labels = st.lists(st.text("aB1é -_#(*.", min_size=1, max_size=5), min_size=2, max_size=5, unique=True)
wrapping = st.text(' \n"*_`.#-(){}', max_size=3)


@settings(max_examples=300)
@given(odd_labels, st.data())
def test_a_label_that_an_answer_ends_in_was_possible_all_along(
    labels: list[str], data: st.DataObject
) -> None:
    shape = data.draw(
        st.sampled_from([str.upper, str.lower, str.title, lambda label: label.replace("-", " ")])
    )
    text = data.draw(wrapping) + shape(data.draw(st.sampled_from(labels))) + data.draw(wrapping)
    answer = normalise(text, Output(format="label", labels=labels))
    if answer is None:
        return
    prefixes = LabelPrefixes(labels)
    found = {prefixes.possible(text[:length]) for length in range(len(text) + 1)}
    assert found <= {SEVERAL_LABELS, labels.index(answer)}
    assert NO_LABEL not in found


def test_twenty_thousand_answers_take_seconds() -> None:
    words = [label[:length] for label in TICKETS for length in range(1, len(label) + 1)]
    vocabulary = words + [f"word {number}" for number in range(5000)]
    rows = [
        [
            (
                token,
                log(0.5),
                [(vocabulary[(row * 31 + place * 7 + at) % len(vocabulary)], -4.0) for at in range(20)],
            )
            for place, token in enumerate("bug r")
        ]
        for row in range(2000)
    ]
    start = time.process_time()
    for steps in rows:
        label_distribution(steps, TICKETS)
    assert (time.process_time() - start) * 10 < 30


def test_logprobs_are_natural() -> None:
    found = label_distribution([("refund", -0.5, [])], TICKETS)
    assert found.resolved == pytest.approx(exp(-0.5))

"""report.html: well-formed, self-contained, accessible, and deaf to what rows contain."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.stages.evaluation.evidence import Evidence
from distillery.stages.evaluation.report import wording
from distillery.stages.evaluation.report.disagreements import FIRST, SHOWN, disagreements
from distillery.stages.evaluation.report.figures import confusion, funnel, hero, training_curve
from distillery.stages.evaluation.report.page import render_report
from distillery.stages.evaluation.report.scales import Scale, scale_around, thinned, ticks
from distillery.stages.evaluation.report.slices import advice, slice_table
from distillery.stages.evaluation.rows import StudentAnswer, TeacherAnswer, score_rows
from evaluation_builders import make_evidence, make_params, make_row, make_rows, said

VOID = {"meta", "link", "br"}
HOSTILE = '<script>alert("x")</script><img src=http://evil.example/x onerror=alert(1)>{{ 7 * 7 }}'


class Page(HTMLParser):
    """Collects what a page consists of and complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if any(re.fullmatch(r"h[1-6]", tag) for tag in self.open):
            level, before = self.headings.pop()
            self.headings.append((level, before + data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@cache
def undecided() -> Evidence:
    return make_evidence()


@cache
def failed() -> Evidence:
    rows, log_probs = make_rows(400, student_skill=0.7)
    return make_evidence(rows=rows, log_probs=log_probs)


@cache
def passed() -> Evidence:
    rows, log_probs = make_rows(800, student_skill=0.99)
    return make_evidence(rows=rows, log_probs=log_probs)


@cache
def hostile() -> Evidence:
    rows = [make_row(number, HOSTILE, HOSTILE, f"g{number // 2}", (HOSTILE,)) for number in range(80)]
    students = [
        StudentAnswer(HOSTILE * 40, HOSTILE * 40 if number % 2 else HOSTILE, valid=True)
        for number in range(80)
    ]
    params = make_params({"retention": {"min": 0.9}}, {"format": "text"}, slices=[HOSTILE])
    evidence = make_evidence(params, score_rows(rows, [said(HOSTILE)] * 80, students, "chrF"))
    return dataclasses.replace(evidence, job=HOSTILE)


@cache
def empty() -> Evidence:
    return make_evidence(make_params({}, slices=[]), [], None)


@cache
def by_teacher() -> Evidence:
    rows = [make_row(number, "hi", None) for number in range(25)]
    answers = [said("login")] * 24 + [TeacherAnswer("failed", reason="TimedOut")]
    student = [StudentAnswer("login", "login", 0.9, True)] * 25
    params = make_params({"retention": {"min": 0.9}}, slices=[], release=None)
    unpriced = params.teacher.model_copy(update={"pricing": None})
    return make_evidence(
        params.model_copy(update={"teacher": unpriced}), score_rows(rows, answers, student, "equal")
    )


CASES = {case.__name__: case for case in (undecided, failed, passed, hostile, empty, by_teacher)}


@pytest.fixture(scope="module", params=CASES)
def page(request: pytest.FixtureRequest) -> Page:
    build: Callable[[], Evidence] = CASES[request.param]
    text = render_report(build())
    assert text.startswith("<!doctype html>")
    return Page(text)


def test_it_runs_nothing_and_loads_nothing(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint(
        {"script", "iframe", "object", "embed", "img", "form", "base", "video", "audio", "image", "use"}
    )
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
            assert not (attributes.get(name) or "").startswith(("http", "//")), tag
        assert "url(" not in (attributes.get("style") or "")
    (policy,) = [
        item["content"] for item in page.all("meta") if item.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_style_loads_nothing_either(page: Page) -> None:
    style = next(text for text in page.text if ":root" in text)
    assert "@import" not in style
    assert "url(" not in style


def test_headings_form_an_outline_under_one_title(page: Page) -> None:
    levels = [level for level, _ in page.headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(text.strip() for _, text in page.headings)


def test_every_drawing_says_in_words_what_it_shows_or_is_hidden(page: Page) -> None:
    for attributes in page.all("svg"):
        assert attributes.get("aria-hidden") == "true" or (
            attributes.get("role") == "img" and attributes.get("aria-label")
        )


def test_tables_have_headers_and_sections_have_names(page: Page) -> None:
    names = {attributes["id"] for attributes in page.all("h2") if "id" in attributes}
    assert [item.get("aria-labelledby") in names for item in page.all("section")].count(False) == 0
    assert all(item.get("scope") in ("col", "row") for item in page.all("th"))


def test_nothing_is_said_twice_by_id(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_hostile_rows_are_shown_as_text() -> None:
    text = render_report(hostile())
    assert "<script" not in text
    assert "<img" not in text
    assert "".join(Page(text).text).count(HOSTILE) > 100


@pytest.mark.parametrize(
    ("case", "verdict", "headline"),
    [
        (passed, "Passed", "The student keeps 98.2\u202f% of the teacher’s quality"),
        (failed, "Failed", "The student keeps 69.2\u202f% of the teacher’s quality"),
        (by_teacher, "Undecided", "The student gives the teacher’s answer to 100.0\u202f% of requests"),
        (empty, "Undecided", "Nothing could be compared"),
    ],
)
def test_the_first_screen_is_the_verdict(case: Callable[[], Evidence], verdict: str, headline: str) -> None:
    found = Page(render_report(case()))
    assert found.headings[0][1] == headline
    said_before = "".join(found.text).split(headline)
    assert verdict in said_before[0] + said_before[1]


def test_a_measurement_without_gates_does_not_call_itself_a_proof() -> None:
    rows, log_probs = make_rows(100)
    evidence = make_evidence(make_params({}), rows, log_probs)
    assert evidence.verdict["verdict"] == "passed"
    assert "a measurement rather than a proof" in render_report(evidence)


def test_no_factor_is_claimed_between_the_two_latencies() -> None:
    text = render_report(undecided())
    assert "no factor between them is claimed" in text
    assert not re.search(r"\d\s*(×|x|times) faster", text)


def test_a_warning_is_no_reason_for_a_verdict() -> None:
    evidence = undecided()
    assert "Not enough evidence yet: quality." in render_report(evidence)


def test_failed_slices_come_first_then_weak_then_thin_then_the_rest_by_value() -> None:
    rows, log_probs = make_rows(900, student_skill=0.82)
    table = slice_table(make_evidence(rows=rows, log_probs=log_probs))
    labels = [row.label for row in table.rows]
    ranks = {"Below the floor": 0, "Weak": 1, "Too few rows": 2, "Holds": 3}
    assert [ranks[label] for label in labels] == sorted(ranks[label] for label in labels)
    assert {"Below the floor", "Too few rows", "Holds"} <= set(labels)
    holding = [row.facts["value"] for row in table.rows if row.label == "Holds"]
    assert holding == sorted(holding)


def test_advice_names_weak_and_thin_slices_when_something_is_short_and_is_silent_otherwise() -> None:
    found = advice(failed())
    assert found is not None
    assert {item.name for item in found.thin} >= {"nobody"}
    assert found.weak
    assert found.target == 0.85
    params = make_params({"retention": {"min": 0.5}}, slices=[])
    rows, log_probs = make_rows(800, student_skill=0.99)
    plain = [dataclasses.replace(row, row=dataclasses.replace(row.row, slices=())) for row in rows]
    assert advice(make_evidence(params, plain, log_probs)) is None


def test_disagreements_begin_with_the_surest_errors_and_say_how_many_there_are() -> None:
    rows, _ = make_rows(900, student_skill=0.7)
    found = disagreements(rows, "equal")
    assert (len(found.first), len(found.more)) == (FIRST, SHOWN - FIRST)
    assert found.total > SHOWN
    assert {case.kind for case in found.first} == {"teacher"}
    notes = [int(case.student_note.split("\u202f")[0]) for case in found.first]
    assert notes == sorted(notes, reverse=True)


def test_graded_answers_show_their_scores() -> None:
    rows = [make_row(0, "say it", "the cat sat")]
    graded = score_rows(
        rows, [said("the cat sat")], [StudentAnswer("the dog", "the dog", valid=True)], "chrF"
    )
    (case,) = disagreements(graded, "chrF").first
    assert (case.title, case.teacher_note) == ("The teacher is nearer", "100\u202f%")
    assert 0 < int(case.student_note.split("\u202f")[0]) < 60


def test_a_perfect_student_differs_nowhere() -> None:
    assert "Nowhere: on every test row the student gave the teacher’s answer." in render_report(by_teacher())


def test_an_answer_of_no_form_is_a_disagreement_and_an_unanswered_row_is_none() -> None:
    rows = [make_row(0), make_row(1)]
    answers = [said(None), TeacherAnswer("failed", reason="TimedOut")]
    students = [StudentAnswer("login", "login", 0.9, True)] * 2
    found = disagreements(score_rows(rows, answers, students, "equal"), "equal")
    assert [(case.row_id, case.kind, case.teacher) for case in found.first] == [("r00000", "student", "hmm")]


def test_a_student_better_than_its_teacher_keeps_nothing_it_reaches_more() -> None:
    overall = {"value": 1.02}
    assert wording.headline({"basis": "reference", "overall": overall}).startswith(
        "The student reaches 102.0"
    )


def test_many_labels_are_shown_as_a_list_of_mistakes() -> None:
    labels = [f"label {number}" for number in range(40)]
    pairs = [{"truth": labels[n], "answer": labels[n + 1], "rows": n + 1} for n in range(30)]
    found = confusion({"against": "reference", "labels": labels, "pairs": pairs})
    assert found is not None
    assert found.matrix == []
    assert [pair["rows"] for pair in found.mistakes] == list(range(30, 10, -1))


def test_a_student_without_an_answer_gets_a_column_of_its_own() -> None:
    pairs = [{"truth": "a", "answer": None, "rows": 1}, {"truth": "a", "answer": "a", "rows": 3}]
    found = confusion({"against": "teacher", "labels": ["a", "b"], "pairs": pairs})
    assert found is not None
    assert found.labels == ["a", "b", "no answer"]
    assert [[cell.rows for cell in cells] for _, cells in found.matrix] == [[3, 0, 1], [0, 0, 0]]


def test_the_funnel_never_widens() -> None:
    widths = [bar.width for bar in funnel(undecided())]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 100.0


def test_a_training_without_validation_or_steps_is_still_drawn_or_left_out() -> None:
    document = {"steps": {"best": 2}, "stoppedEarly": False}
    rows = [{"step": n, "train_loss": 1 / n, "validation_loss": None} for n in (1, 2, 3)]
    curve = training_curve(rows, document)
    assert curve is not None
    assert (curve.best, curve.marks, curve.validation) == (None, [], "")
    assert training_curve(rows[:1], document) is None
    assert training_curve([], document) is None


def test_the_hero_line_holds_all_that_it_marks() -> None:
    drawn = hero(failed())
    assert drawn is not None
    assert 0 < drawn.low <= drawn.lower <= drawn.value <= drawn.high < drawn.full < 100
    assert drawn.demanded is not None
    assert drawn.high < drawn.demanded < drawn.full
    assert hero(empty()) is None


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=8))
def test_a_scale_holds_every_value_and_has_some_ticks(values: list[float | None]) -> None:
    scale = scale_around(values)
    assert scale.low < scale.high
    assert all(0 < scale.at(value) < 100 for value in values if value is not None)
    marks = ticks(scale, 4)
    assert 1 <= len(marks) <= 5
    assert all(scale.low <= mark <= scale.high for mark in marks)


@given(st.integers(1, 2000), st.integers(2, 300))
def test_a_thinned_curve_is_short_and_keeps_its_range(count: int, most: int) -> None:
    points = [(float(n), float(n % 7)) for n in range(count)]
    got = thinned(points, most)
    assert 1 <= len(got) <= most
    assert [x for x, _ in got] == sorted(x for x, _ in got)
    assert 0 <= got[0][0] <= got[-1][0] <= count - 1


@pytest.mark.parametrize(
    ("amount", "want"),
    [
        (None, "–"),
        ("0.000000", "0.00 USD"),
        ("0.000123", "0.00012 USD"),
        ("0.170000", "0.17 USD"),
        ("4078.98", "4\u202f078.98 USD"),
        ("-3.50", "-3.50 USD"),
    ],
)
def test_money_is_said_with_cents_or_with_digits_that_count(amount: str | None, want: str) -> None:
    assert wording.money(amount, "USD") == want


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (None, "–"),
        (0.512, "0.512\u202fms"),
        (7.655, "7.66\u202fms"),
        (410.9, "411\u202fms"),
        (2345.0, "2.35\u202fs"),
    ],
)
def test_times_are_said_with_three_digits(value: float | None, want: str) -> None:
    assert wording.milliseconds(value) == want


def test_scales_cut_off_what_lies_outside() -> None:
    assert (Scale(0, 1).at(-5), Scale(0, 1).at(0.5), Scale(0, 1).at(5)) == (0.0, 50.0, 100.0)

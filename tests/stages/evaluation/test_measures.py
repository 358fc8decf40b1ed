"""metrics.json, latency.json, cost.json and verdict.json from scored rows."""

import dataclasses
import json
from decimal import Decimal

import numpy as np
import pytest

from distillery.api.v1alpha1.evaluation import Gates
from distillery.api.v1alpha1.task import Output
from distillery.querying.answers import Usage
from distillery.stages.evaluation.costs import cost_document, usages_of
from distillery.stages.evaluation.judging import judge
from distillery.stages.evaluation.metrics import metrics_document, noise_of
from distillery.stages.evaluation.quality import Judging, choose_basis, measure, slice_names
from distillery.stages.evaluation.rows import ScoredRow, StudentAnswer, TeacherAnswer, score_rows
from distillery.stages.evaluation.timing import latency_document
from evaluation_builders import LABELS, make_evidence, make_params, make_row, make_rows, measure_all, said

LABEL = Output(format="label", labels=LABELS)


def scored(count: int = 100, wrong: int = 10, **fields: object) -> list[ScoredRow]:
    """Rows that the teacher gets right and the student, too, but for the first `wrong`."""
    rows = [make_row(number, "hi", "login", **fields) for number in range(count)]  # type: ignore[arg-type]
    answers = ["bug" if number < wrong else "login" for number in range(count)]
    students = [StudentAnswer(answer, answer, 0.9, True) for answer in answers]
    return score_rows(rows, [said("login")] * count, students, "equal")


def test_the_basis_is_as_wanted_else_what_the_rows_allow() -> None:
    with_reference, without = scored(2), [_without_reference(row) for row in scored(2)]
    agreement = Gates.model_validate({"retention": {"basis": "teacher"}})
    assert choose_basis(agreement, "label", with_reference) == "teacher"
    assert choose_basis(Gates(), "label", with_reference) == "reference"
    assert choose_basis(Gates(), "label", [*without, with_reference[0]]) == "reference"
    assert choose_basis(Gates(), "label", without) == "teacher"


@pytest.mark.parametrize("gates", [{"retention": {}}, {"slices": {"minRetention": 0.9}}])
def test_text_is_never_gated_on_its_likeness_to_the_teachers(gates: dict[str, object]) -> None:
    without = [_without_reference(row) for row in scored(2)]
    assert choose_basis(Gates.model_validate(gates), "text", without) == "reference"
    assert choose_basis(Gates(), "text", without) == "teacher"


def _without_reference(row: ScoredRow) -> ScoredRow:
    bare = dataclasses.replace(row.row, reference=None)
    return dataclasses.replace(row, row=bare, teacher_score=None, student_score=None)


def test_slices_are_those_of_the_rows_and_the_declared_ones() -> None:
    assert slice_names(["german", "nobody"], scored(2, slices=("german", "a=b"))) == [
        "a=b",
        "german",
        "nobody",
    ]


def test_retention_and_agreement_are_measured_on_the_rows_that_have_them() -> None:
    rows = scored(100, 10)
    unanswered = score_rows(
        [make_row(900)], [TeacherAnswer("failed")], [StudentAnswer("bug", "bug")], "equal"
    )
    invalid = score_rows([make_row(901)], [said(None)], [StudentAnswer("login", "login")], "equal")
    quality = measure([*rows, *unanswered, *invalid], [], Judging("reference"))
    assert (quality.overall.rows, quality.overall.value) == (101, pytest.approx(91 / 100))
    assert (quality.agreement.rows, quality.agreement.value) == (100, 0.9)


def test_basis_teacher_judges_agreement() -> None:
    quality = measure(scored(100, 10, slices=("german",)), ["german"], Judging("teacher", floor=0.95))
    assert quality.overall == quality.agreement
    assert (quality.overall.value, quality.overall.teacher) == (0.9, None)
    assert quality.slices[0].state == "failed"


def test_without_a_floor_no_slice_fails() -> None:
    quality = measure(scored(100, 99, slices=("bad",)), ["bad", "empty"], Judging("reference"))
    assert [item.state for item in quality.slices] == ["passed", "undecided"]


def test_groups_are_the_unit_where_rows_have_them() -> None:
    rows = [
        dataclasses.replace(row, row=dataclasses.replace(row.row, group=f"g{i // 10}"))
        for i, row in enumerate(scored(100, 10))
    ]
    quality = measure(rows, [], Judging("reference"))
    assert (quality.overall.rows, quality.overall.units) == (100, 10)


def test_the_document_counts_every_row_and_knows_both_models() -> None:
    rows = scored(40, 4)
    log_probs = np.log(np.full((40, len(LABELS)), 1 / len(LABELS)))
    document = metrics_document(
        rows, measure(rows, [], Judging("reference")), None, log_probs, (LABEL, None, "equal")
    )
    assert document["rows"] == {
        "test": 40,
        "teacherFailed": 0,
        "teacherInvalid": 0,
        "tooLong": 0,
        "withReference": 40,
        "groups": 0,
    }
    assert document["metrics"] == [
        {"name": "accuracy", "teacher": 1.0, "student": 0.9, "studentAgainstTeacher": 0.9},
        {"name": "macroF1", "teacher": 1.0, "student": 0.473684, "studentAgainstTeacher": 0.473684},
    ]
    assert document["difference"]["value"] == -0.1
    assert (document["difference"]["teacherOnly"], document["difference"]["studentOnly"]) == (4, 0)
    assert document["validity"]["share"] == 1.0
    assert document["calibration"]["rows"] == 40
    assert document["confusion"]["pairs"] == [
        {"truth": "login", "answer": "login", "rows": 36},
        {"truth": "login", "answer": "bug", "rows": 4},
    ]


def test_calibration_leaves_out_rows_that_the_student_cannot_read() -> None:
    rows = scored(40, 4)
    rows[0] = dataclasses.replace(rows[0], student=StudentAnswer(None, None, valid=False, too_long=True))
    log_probs = np.log(np.full((40, len(LABELS)), 1 / len(LABELS)))
    log_probs[0] = np.nan
    document = metrics_document(
        rows, measure(rows, [], Judging("reference")), None, log_probs, (LABEL, None, "equal")
    )
    assert document["calibration"]["rows"] == 39
    assert document["rows"]["tooLong"] == 1


def test_an_evaluation_without_rows_is_all_blank_and_undecided() -> None:
    evidence = make_evidence(make_params(slices=["german"]), [], None)
    assert evidence.metrics["overall"]["value"] is None
    assert evidence.metrics["servingNoise"] is None
    assert (evidence.latency["teacher"] is None, evidence.latency["student"] is None) == (True, True)
    assert evidence.verdict["verdict"] == "undecided"
    json.dumps(evidence.metrics, allow_nan=False)


def test_documents_are_json_with_at_most_six_decimals() -> None:
    evidence = make_evidence()
    for document in (evidence.metrics, evidence.latency, evidence.cost, evidence.verdict):
        assert document["version"] == 1
        text = json.dumps(document, allow_nan=False)
        assert json.loads(text) == document
    figures = [evidence.metrics["overall"]["value"], *evidence.metrics["overall"]["interval"]]
    assert all(round(figure, 6) == figure for figure in figures)


def test_the_teachers_noise_is_its_agreement_with_itself_where_both_answers_count() -> None:
    rows = scored(50)
    again = [said("bug"), *[said("login")] * 47, said(None), TeacherAnswer("failed")]
    noise = noise_of(rows, again, "equal", 0.95)
    assert noise is not None
    assert (noise["rows"], noise["value"]) == (48, round(47 / 48, 6))
    assert noise_of([], [], "equal", 0.95) is None


def test_noise_is_empty_where_no_pair_can_be_compared() -> None:
    assert noise_of(scored(1), [TeacherAnswer("failed")], "equal", 0.95) is None


def test_latency_is_of_both_sides_apart_and_claims_no_factor() -> None:
    again = [said("login", seconds=(i + 1) / 100, cached=i < 30) for i in range(100)]
    assert latency_document(again, [0.005] * 100) == {
        "version": 1,
        "teacher": {
            "where": "over HTTP, one call at a time",
            "rows": 100,
            "p50Ms": 505.0,
            "p95Ms": 950.5,
            "fromCache": 30,
        },
        "student": {"where": "in process, one row at a time", "rows": 100, "p50Ms": 5.0, "p95Ms": 5.0},
        "note": "The two are measured differently, so no factor between them is claimed.",
    }


def test_failed_answers_have_no_latency() -> None:
    assert latency_document([TeacherAnswer("failed")], []) == {
        "version": 1,
        "teacher": None,
        "student": None,
        "note": "The two are measured differently, so no factor between them is claimed.",
    }


def test_cost_follows_tokens_and_prices_and_pays_back() -> None:
    settings = make_params().teacher
    first = [said("login", prompt_tokens=100, completion_tokens=10)] * 4 + [
        TeacherAnswer("failed", prompt_tokens=50)
    ]
    # 100 × 2.50 + 10 × 10.00 per million = 0.00035 a request; the bill is 10,000 of them.
    document = cost_document(settings, first, [Usage(100, 0, 10)] * 10_000, 100_000)
    assert (document["teacherPerThousand"], document["bill"]) == ("0.350000", "3.50")
    assert document["breakEvenRequests"] == 10_000
    assert document["monthly"] == {
        "requests": 100_000,
        "teacher": "35.00",
        "breakEvenDays": 3.0,
        "firstYearSavings": "416.50",
    }
    assert document["tokensPerRequest"] == {"prompt": 100.0, "cachedPrompt": 0.0, "completion": 10.0}
    assert "not included" in document["assumption"]


def test_cached_prompt_tokens_are_cheaper_where_the_price_says_so() -> None:
    settings = make_params().teacher
    pricing = settings.pricing
    assert pricing is not None
    cheaper = settings.model_copy(
        update={"pricing": pricing.model_copy(update={"cached_prompt_per_million": Decimal("0.25")})}
    )
    answers = [said("login", prompt_tokens=100, cached_prompt_tokens=80, completion_tokens=0)]
    assert cost_document(settings, answers, [], None)["teacherPerThousand"] == "0.250000"
    assert cost_document(cheaper, answers, [], None)["teacherPerThousand"] == "0.070000"


@pytest.mark.parametrize("prices", [None, "0"])
def test_without_prices_there_is_no_cost_and_free_answers_pay_back_at_once(prices: str | None) -> None:
    settings = make_params().teacher
    pricing = settings.pricing
    assert pricing is not None
    zero = pricing.model_copy(update={"prompt_per_million": Decimal(0), "completion_per_million": Decimal(0)})
    settings = settings.model_copy(update={"pricing": None if prices is None else zero})
    document = cost_document(settings, [said("login")], [Usage(60, 0, 2)], 1000)
    assert document["breakEvenRequests"] is None
    assert (document["teacherPerThousand"] is None) == (prices is None)


def test_a_teacher_that_does_not_tell_its_tokens_is_not_free() -> None:
    settings = make_params().teacher
    silent = said("login", prompt_tokens=0, completion_tokens=0)
    document = cost_document(settings, [silent], [Usage()], 1000)
    names = ("tokensPerRequest", "teacherPerThousand", "bill", "monthly")
    assert [document[name] for name in names] == [None] * 4
    told = said("login", prompt_tokens=100, completion_tokens=10)
    assert cost_document(settings, [silent, told], [Usage()], None)["teacherPerThousand"] == "0.350000"


def test_paid_but_failed_completions_are_on_the_bill() -> None:
    rows = [
        {"prompt_tokens": 7, "cached_prompt_tokens": None, "completion_tokens": 2},
        {"prompt_tokens": None, "cached_prompt_tokens": None, "completion_tokens": None},
    ]
    assert usages_of(rows) == [Usage(7, 0, 2), Usage(0, 0, 0)]


def test_every_gate_of_the_spec_is_judged_and_the_verdict_is_the_worst() -> None:
    rows, _ = make_rows(1500, student_skill=0.99)
    params = make_params()
    quality = measure_all(params, rows)
    latency = latency_document([], [0.2] * 100)
    counts = {"teacherFailed": 5, "test": 1500}
    document = judge(params.evaluation.gates, quality, counts, 0.02, latency)
    assert [(gate["name"], gate["result"]) for gate in document["gates"]] == [
        ("retention", "passed"),
        ("slices", "undecided"),
        ("latency", "failed"),
        ("teacherFailures", "passed"),
    ]
    assert document["verdict"] == "failed"
    assert judge(Gates(), quality, counts, 0.02, latency)["verdict"] == "passed"
    assert judge(Gates(), quality, counts, 0.001, latency)["verdict"] == "failed"


def test_no_noise_rows_leave_the_latency_gate_undecided() -> None:
    document = judge(
        Gates.model_validate({"latency": {"p95Ms": 5}}),
        measure(scored(), [], Judging("reference")),
        {"teacherFailed": 0, "test": 100},
        0.0,
        latency_document([], []),
    )
    assert document["verdict"] == "undecided"
    assert "raise evaluation.noiseRows" in document["gates"][0]["message"]

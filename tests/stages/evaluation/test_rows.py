import pytest

from distillery.api.v1alpha1.task import Output
from distillery.querying.answers import Answer, Question, Unanswered, Usage
from distillery.stages.evaluation.rows import (
    StudentAnswer,
    TeacherAnswer,
    prediction,
    read_test_rows,
    row_score_of,
    score_rows,
)
from distillery.stages.evaluation.teacher_answers import noise_rows, read_answer
from evaluation_builders import make_row, said

LABEL = Output(format="label", labels=["login", "refund"])
FAILED = TeacherAnswer("failed", reason="TimedOut")
LOGIN, REFUND = (StudentAnswer(label, label, 0.9, True) for label in ("login", "refund"))
TOO_LONG = StudentAnswer(None, None, valid=False, too_long=True)


def test_only_test_rows_are_read_sorted_with_prompt_and_normalised_reference() -> None:
    inputs = [
        {
            "row_id": name,
            "split": split,
            "group": None,
            "messages": [{"role": "user", "content": name}],
            "reference": reference,
            "slices": None,
            "copies": 1,
        }
        for name, split, reference in (
            ("b", "test", " Login. "),
            ("a", "test", None),
            ("c", "train", "login"),
        )
    ]
    rows = read_test_rows(inputs, "Route.", LABEL)
    assert [(row.row_id, row.reference, row.slices) for row in rows] == [("a", None, ()), ("b", "login", ())]
    assert rows[0].conversation == [{"role": "system", "content": "Route."}, {"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("case", "reference", "teacher", "student", "want"),
    [
        ("all the same", "login", said("login"), LOGIN, (1.0, 1.0, 1.0)),
        ("the student is wrong", "login", said("login"), REFUND, (1.0, 0.0, 0.0)),
        ("the student knows better", "login", said("refund"), LOGIN, (0.0, 1.0, 0.0)),
        ("both wrong alike", "login", said("refund"), REFUND, (0.0, 0.0, 1.0)),
        ("no reference", None, said("login"), LOGIN, (None, None, 1.0)),
        ("the teacher did not answer", "login", FAILED, LOGIN, (None, None, None)),
        ("the teacher's answer is no label", "login", said(None), LOGIN, (0.0, 1.0, None)),
        ("too long for the student", "login", said("login"), TOO_LONG, (1.0, 0.0, 0.0)),
    ],
)
def test_rows_are_scored_against_reference_and_teacher(
    case: str,
    reference: str | None,
    teacher: TeacherAnswer,
    student: StudentAnswer,
    want: tuple[float | None, float | None, float | None],
) -> None:
    (scored,) = score_rows([make_row(reference=reference)], [teacher], [student], "equal")
    assert (scored.teacher_score, scored.student_score, scored.agreement) == want, case


def test_a_prediction_keeps_what_was_said_where_it_has_no_normal_form() -> None:
    row = make_row(3, "hi", "login", "g1", ("german",))
    student = StudentAnswer("login", "login", 0.87654321, True)
    (scored,) = score_rows([row], [TeacherAnswer("answered", "I cannot say")], [student], "equal")
    assert prediction(scored) == {
        "row_id": "r00003",
        "group": "g1",
        "slices": ["german"],
        "messages": [{"role": "user", "content": "hi"}],
        "reference": "login",
        "teacher_status": "answered",
        "teacher_answer": "I cannot say",
        "student_answer": "login",
        "student_confidence": 0.876543,
        "student_valid": True,
        "teacher_score": 0.0,
        "student_score": 1.0,
        "agreement": None,
    }


@pytest.mark.parametrize(
    ("output", "metrics", "want"),
    [
        ("label", None, "equal"),
        ("json", ["exactMatch"], "equal"),
        ("text", None, "chrF"),
        ("text", ["exactMatch", "chrF"], "chrF"),
        ("text", ["exactMatch"], "equal"),
    ],
)
def test_text_is_compared_by_its_metric_all_else_by_equality(
    output: str, metrics: list[str], want: str
) -> None:
    shape = Output.model_validate(
        {"format": output, "labels": ["a", "b"]} if output == "label" else {"format": output}
    )
    assert row_score_of(shape, metrics) == want  # type: ignore[arg-type]


def test_an_answer_is_normalised_and_a_failure_keeps_its_reason_and_its_bill() -> None:
    question = Question("r1", [])
    usage = Usage(10, 4, 2)
    answer = Answer(question, "k", "**Refund**", "stop", None, usage, "m", None, None, True, 0.25)
    assert read_answer(answer, LABEL) == TeacherAnswer(
        "answered", "**Refund**", "refund", None, 10, 4, 2, seconds=0.25, cached=True
    )
    failed = Unanswered(question, "k", "NoChoices", "no choices", usage)
    assert read_answer(failed, LABEL) == TeacherAnswer("failed", None, None, "NoChoices", 10, 4, 2)
    assert read_answer(Unanswered(question, "k", "TimedOut", ""), LABEL) == FAILED


def test_noise_rows_are_answered_ones_chosen_by_hash_not_by_position() -> None:
    rows = [make_row(number) for number in range(200)]
    answers = [FAILED if number % 10 == 0 else said("login") for number in range(200)]
    chosen = noise_rows(rows, answers, 50, 17)
    assert len(chosen) == 50
    assert chosen == sorted(chosen)
    assert not any(position % 10 == 0 for position in chosen)
    named = {rows[position].row_id for position in chosen}
    fewer = noise_rows(rows[20:], answers[20:], 50, 17)
    kept = {rows[20:][position].row_id for position in fewer}
    assert {row for row in named if row >= "r00020"} <= kept
    assert noise_rows(rows, answers, 50, 18) != chosen
    assert noise_rows(rows, answers, 500, 17) == [i for i in range(200) if i % 10]

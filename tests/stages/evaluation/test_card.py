import dataclasses

from distillery.api.v1alpha1.student import Base
from distillery.api.yaml import load_yaml
from distillery.stages.evaluation.card import cell, code, fenced, model_card
from distillery.stages.evaluation.rows import StudentAnswer, score_rows
from evaluation_builders import make_evidence, make_params, make_row, make_rows, said


def front_matter(card: str) -> dict[str, object]:
    assert card.startswith("---\n")
    return load_yaml(card.split("---\n")[1], "README.md")


def test_the_card_is_in_the_hubs_format_with_results_and_provenance() -> None:
    rows, log_probs = make_rows(400, student_skill=0.99)
    base = Base.model_validate({"hub": "small/model", "revision": "abc123"})
    evidence = make_evidence(make_params(base=base), rows, log_probs)
    card = model_card(evidence)
    overall, (accuracy, macro_f1) = evidence.metrics["overall"], evidence.metrics["metrics"]
    assert front_matter(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "small/model",
        "base_model_relation": "finetune",
        "tags": ["distillation", "distillery"],
        "model-index": [
            {
                "name": "ticket-router",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"type": "distillery", "name": "ticket-routing test split"},
                        "metrics": [
                            {
                                "type": "accuracy",
                                "name": "accuracy",
                                "value": accuracy["student"],
                            },
                            {
                                "type": "f1",
                                "name": "macroF1",
                                "value": macro_f1["student"],
                            },
                            {"type": "retention", "name": "retention", "value": overall["value"]},
                        ],
                    }
                ],
            }
        ],
    }
    for fact in (
        evidence.identity,
        evidence.prompt_digest,
        evidence.dataset_digest,
        "large-chat@example",
        "small/model",
    ):
        assert fact in card
    assert "license" not in card
    assert "0.170000 USD per 1,000 requests" in card
    assert "not included" in card
    assert "no factor between them is claimed" in card


def test_a_student_from_scratch_has_no_base_model() -> None:
    card = model_card(make_evidence())
    assert "base_model" not in front_matter(card)
    assert "llama from scratch" in card


def test_a_card_without_references_speaks_of_agreement() -> None:
    rows = [make_row(number, "hi", None) for number in range(40)]
    students = [StudentAnswer("login", "login", 0.9, True)] * 40
    evidence = make_evidence(
        make_params(slices=[]), score_rows(rows, [said("login")] * 40, students, "equal")
    )
    evidence = dataclasses.replace(evidence, metrics={**evidence.metrics, "basis": "teacher"})
    assert "agreement with the teacher" in model_card(evidence)
    assert "The dataset has no slices." in model_card(evidence)


def test_an_evaluation_without_rows_still_has_a_card() -> None:
    card = model_card(make_evidence(make_params({}, slices=[]), [], None))
    assert "model-index" not in front_matter(card)


def test_names_from_data_cannot_break_the_card() -> None:
    assert cell("a|b\nc <b>&") == "a\\|b c &lt;b>&amp;"
    assert code("a`b\nc") == "`a´b c`"
    prompt = "Say:\n```\nx\n````"
    assert fenced(prompt) == f"`````text\n{prompt}\n`````"


def test_a_job_named_like_yaml_stays_a_name() -> None:
    evidence = dataclasses.replace(make_evidence(make_params(release=None)), job="yes: [no")
    index = front_matter(model_card(evidence))["model-index"]
    assert isinstance(index, list)
    assert index[0]["name"] == "yes: [no"

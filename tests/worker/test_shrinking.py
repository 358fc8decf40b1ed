"""Every report fits into its entry, and what is named by digest or counted in money is never cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distillery.artifacts.manifest import Cost
from distillery.planning.reports import MAX_REPORT_BYTES
from distillery.stages.report import Failure, Outcome, Progress, Report
from distillery.stages.stage import STAGE_NAMES
from distillery.worker.shrinking import report_text

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
TEXTS = st.sampled_from(["", "short", "word " * 900, "\0" * 9000, "😀" * 3000, '"\\' * 3000]) | st.text(
    max_size=20
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(-1e300, 1e300) | TEXTS
VALUES = (
    SCALARS
    | st.text(max_size=90).map(lambda text: [text] * 90)
    | st.dictionaries(TEXTS, SCALARS, max_size=3).map(lambda entry: [entry, {"nested": entry}])
)
COSTS = st.builds(
    Cost, currency=st.just("EUR"), spent_micro=st.integers(0, 2**50), prompt_tokens=st.integers(0, 2**50)
)
OUTCOMES = st.builds(
    Outcome,
    stage=st.sampled_from(STAGE_NAMES),
    identity=DIGESTS,
    output_digest=DIGESTS,
    summary=st.dictionaries(TEXTS, VALUES, max_size=3),
    cost=COSTS,
)
FAILURES = st.builds(Failure, failure_class=st.just("user"), reason=TEXTS, message=TEXTS)
REPORTS = st.builds(
    Report,
    stage=st.sampled_from(STAGE_NAMES),
    recipe=DIGESTS,
    attempt=st.integers(1, 99),
    incarnation=st.integers(1, 4),
    sequence=st.integers(0, 2**40),
    state=st.sampled_from(["running", "succeeded", "failed", "stopped"]),
    sources=st.none() | DIGESTS,
    progress=st.builds(Progress, message=TEXTS, unit=TEXTS, done=st.integers(0, 2**50)),
    result=st.none() | OUTCOMES,
    failure=st.none() | FAILURES,
    reusable=OUTCOMES.map(lambda outcome: [outcome] * 4) | st.just([]),
    warnings=TEXTS.map(lambda text: [text] * 5),
)


def essence(report: Report) -> object:
    outcomes = [*([report.result] if report.result else []), *report.reusable]
    return (
        (report.stage, report.recipe, report.attempt, report.incarnation, report.sequence, report.state),
        (report.sources, report.failure and report.failure.failure_class, report.progress.done),
        [(o.stage, o.identity, o.output_digest, o.cost, o.reused) for o in outcomes],
    )


@given(REPORTS)
def test_any_report_fits_and_keeps_what_matters(report: Report) -> None:
    text = report_text(report)
    assert len(text.encode()) <= MAX_REPORT_BYTES
    assert essence(Report.model_validate_json(text)) == essence(report)


def test_a_small_report_is_not_touched() -> None:
    report = Report(stage="filter", recipe="r", attempt=1, warnings=["é" * 100], progress=Progress(done=3))
    assert Report.model_validate_json(report_text(report)) == report


def test_gates_that_did_not_pass_are_kept_before_the_others() -> None:
    gates = [
        {
            "name": f"slices/{number:03}" + "x" * 60,
            "result": "failed" if number in (7, 70) else "passed",
            "value": 0.5,
        }
        for number in range(80)
    ]
    result = Outcome(
        stage="evaluation", identity="i", output_digest="o", summary={"verdict": "failed", "gates": gates}
    )
    report = Report(stage="evaluation", recipe="r", attempt=1, result=result)
    kept = Report.model_validate_json(report_text(report)).result
    assert kept is not None
    assert kept.summary["verdict"] == "failed"
    names = [gate["name"] for gate in kept.summary["gates"]]
    assert names == sorted(names)
    assert len(names) == 64
    assert [gate["name"][:10] for gate in kept.summary["gates"] if gate["result"] == "failed"] == [
        "slices/007",
        "slices/070",
    ]

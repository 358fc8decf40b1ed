"""Reports come from a tenant's pods: what no status could show is ignored and said so, and never stops a job."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import make_outcome, make_plan, make_report
from distillery.planning.control import Control
from distillery.planning.decide import decide
from distillery.planning.observed import Patience
from distillery.planning.observing import Facts, observe
from distillery.planning.record import AttemptRecord
from distillery.planning.reports import accept_reports
from distillery.planning.status import status_of
from distillery.stages.identity import stage_identity
from distillery.stages.report import Failure, Outcome, Progress

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PLAN = make_plan()
KEY = "dataset.1"
ENTRY = AttemptRecord(
    storage=PLAN.storage_uri,
    stage="dataset",
    attempt=1,
    recipe="dataset-0",
    generation=1,
    name="job-dataset-1",
    started_at=10.0,
)


def committed(summary: dict[str, Any]) -> list[Outcome]:
    """Return an outcome of every stage of the plan, the last with this summary."""
    outputs: dict[str, str] = {}
    found = []
    for run in PLAN.runs:
        identity = stage_identity(run.recipe, run.consumes, outputs, "pinned")
        assert identity is not None
        found.append(make_outcome(run.stage, identity))
        outputs[run.stage] = found[-1].output_digest
    return [*found[:-1], found[-1].model_copy(update={"summary": summary})]


def wire(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [outcome.model_dump(by_alias=True) for outcome in committed(summary)[-1:]]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"progress": {"done": -1}}, "greater than or equal to 0"),
        ({"progress": {"remainingSeconds": -0.1}}, "greater than or equal to 0"),
        ({"failure": {"failureClass": "user", "reason": "no such thing", "message": ""}}, "match pattern"),
        ({"spentMicro": -5}, "decimal string"),
        ({"reusable": wire({"gates": [{"name": "x"}]})}, "Field required"),
        ({"reusable": wire({"interval": [1.0]})}, "at least 2 items"),
        ({"reusable": wire({"retention": float("nan")})}, "finite number"),
        ({"reusable": wire({"rows": float("nan")})}, "not JSON compliant"),
    ],
)
def test_a_report_that_no_status_can_show_is_ignored_and_said_so(fields: dict[str, Any], why: str) -> None:
    body = {"stage": "dataset", "recipe": "dataset-0", "attempt": 1} | fields
    accepted, (complaint,) = accept_reports({KEY: json.dumps(body)}, {KEY: ENTRY})
    assert accepted == {}
    assert complaint.startswith(f"report {KEY} is ignored: it cannot be shown: ")
    assert why in complaint


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "result", "value"]), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = ["verdict", "basis", "retention", "interval", "gates", "releaseVersion", "rows"]


@unhurried
@given(st.builds(Progress), st.none() | st.builds(Failure), st.dictionaries(st.sampled_from(FIELDS), values))
def test_whatever_is_accepted_can_be_shown(
    progress: Progress, failure: Failure | None, summary: dict[str, Any]
) -> None:
    said = make_report("dataset", "dataset-0", 1, sources="pinned").model_copy(
        update={"progress": progress, "failure": failure, "reusable": committed(summary)}
    )
    try:
        text = said.model_dump_json(by_alias=True)
    except ValueError:
        return  # not even JSON
    reports, _ = accept_reports({KEY: text}, {KEY: ENTRY})
    facts = Facts({KEY: ENTRY}, reports, (), dict.fromkeys(reports, 50.0), 100.0)
    observed = observe(facts, PLAN, Control(), Patience())
    status = status_of(PLAN, observed, decide(PLAN, observed, 100.0), None, 100.0)
    json.dumps(status.to_wire(), allow_nan=False)

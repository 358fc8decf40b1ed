"""All five stages as worker processes, one after the other, as pods run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillery.planning.reports import MAX_REPORT_BYTES
from distillery.stages.stage import STAGE_NAMES
from tiny_job import NONSENSE, make_bench, teacher_process
from worker_bench import NAMESPACE, TOKEN, ConfigMapApi, Operator

KEY = "sk-planted-4711-SECRET"
OTHER = "planted-but-never-asked-for-0815"


@pytest.mark.timeout(400)
def test_five_workers_make_the_job_and_tell_all_of_it(tmp_path: Path) -> None:
    bill = tmp_path / "bill.jsonl"
    with teacher_process(bill, "--api-key", KEY, *NONSENSE) as url, ConfigMapApi().served() as api:
        bench = make_bench(tmp_path / "bench", url, bill)
        teacher = dict(bench.manifest()["spec"]["teacher"])
        teacher["endpoint"] = {"url": url, "apiKeySecret": {"name": "teacher", "key": "api-key"}}
        operator = Operator(bench, api, changes={"teacher": teacher})
        operator.environment = {
            "DISTILLERY_SECRET_TEACHER_API_KEY": KEY
            + "\n",  # as `kubectl create secret --from-file` leaves it
            "DISTILLERY_SECRET_S3_AWS_SECRET_ACCESS_KEY": OTHER,
        }
        for stage in STAGE_NAMES:
            ended = operator.run(stage)
            assert ended.code == 0, ended.log
        _check_reports(operator)
        _check_log(operator)
        assert api.refused == []
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.name != "kubeconfig":
                data = path.read_bytes()
                assert not any(value.encode() in data for value in (KEY, OTHER, TOKEN)), path
        _check_adoption(operator)


def _check_reports(operator: Operator) -> None:
    manifests = operator.bench.manifests()
    for stage in STAGE_NAMES:
        reports = operator.reports(stage)
        last = reports[-1]
        assert [(r.incarnation, r.sequence) for r in reports] == [(1, n + 1) for n in range(len(reports))]
        assert {r.state for r in reports[:-1]} == {"running"}
        assert last.state == "succeeded"
        assert last.result is not None
        assert (last.result.identity, last.result.output_digest) == (
            manifests[stage].identity,
            manifests[stage].output_digest,
        )
        assert last.result.cost == manifests[stage].cost
        assert not last.result.reused
    assert operator.last("dataset").sources is not None
    assert operator.last("evaluation").spent_micro == sum(
        round(2 * call["prompt"] + 10 * call["completion"]) for call in operator.bench.billed()
    )
    assert all(len(text.encode()) <= MAX_REPORT_BYTES for _, text in operator.api.written)
    assert not any(KEY in text or OTHER in text or TOKEN in text for _, text in operator.api.written)


def _check_log(operator: Operator) -> None:
    lines = operator.lines
    assert {line["stage"] for line in lines} == set(STAGE_NAMES)
    assert {(line["namespace"], line["job"], line["attempt"]) for line in lines} == {(NAMESPACE, "tiny", 1)}


def _check_adoption(operator: Operator) -> None:
    """A second object with the same spec finds everything after its own pinning of the sources."""
    bought = len(operator.bench.billed())
    second = Operator(
        operator.bench,
        operator.api,
        environment=operator.environment,
        changes=operator.changes,
        uid="99999999-0000-4000-8000-000000000002",
    )
    assert second.run("dataset", attempt=2).code == 0
    last = second.last("dataset", attempt=2)
    assert last.result is not None
    assert last.result.reused
    assert [outcome.stage for outcome in last.reusable] == list(STAGE_NAMES[1:])
    assert len(operator.bench.billed()) == bought

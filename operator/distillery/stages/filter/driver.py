"""Runs the filter stage: the teacher's answers in, training targets and rejected rows with reasons out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distillery.artifacts.manifest import logical_digest
from distillery.artifacts.tables import (
    COMPLETIONS,
    INPUTS,
    KEPT,
    REJECTED,
    read_table,
    rows_digest,
    write_table,
)
from distillery.rules.filtering import build_rules
from distillery.rules.label_distribution import Step, label_distribution
from distillery.stages import report
from distillery.stages.context import StageContext, StageResult
from distillery.stages.filter.candidates import Candidate, Decision, decide, gather
from distillery.stages.filter.counts import Distributions, count
from distillery.stages.filter.discarding import check_discards, concerns
from distillery.stages.filter.review import review_sample
from distillery.stages.filter.spec import FilterParams

BATCH_ROWS = 1000
# Logprobs are by far the largest column, and only label tasks need them: they are read in batches.
_ANSWERS = pa.schema([field for field in COMPLETIONS if field.name != "logprobs"])
_LOGPROBS = ["row_id", "sample_index", "logprobs"]


def run(context: StageContext) -> StageResult:
    """Filter the answers and write kept.parquet, rejected.parquet, review.jsonl and counts.json.

    Raises: StageFailed(DiscardTooHigh, NothingKept), before anything is written.
    """
    params = FilterParams.model_validate(context.run.params)
    completions = context.inputs["teacher"].local("completions.parquet")
    inputs = read_table(context.inputs["dataset"].local("inputs.parquet"), INPUTS)
    candidates = gather(inputs, read_table(completions, _ANSWERS), params.output)
    decisions = _decide(context, candidates, params)
    labels = params.output.labels or []
    soft = _distributions(completions, decisions, labels, context.check_stop) if labels else {}
    document = count(decisions, params.discard, labels, soft)
    check_discards(document, decisions)
    for concern in concerns(document):
        context.warn(concern)
    kept = [_kept(one, soft) for one in decisions if one.outcome == "kept"]
    rejected = [_rejected(one) for one in decisions if one.outcome != "kept"]
    write_table(context.output.path("kept.parquet"), KEPT, kept)
    write_table(context.output.path("rejected.parquet"), REJECTED, rejected)
    context.output.write("review.jsonl", _json_lines(review_sample(decisions, params.review.sample)))
    context.output.write("counts.json", json.dumps(document, indent=1, ensure_ascii=False).encode())
    digests = {"kept": rows_digest(kept, KEPT), "rejected": rows_digest(rejected, REJECTED)}
    return _result(document, logical_digest(digests))


def _decide(context: StageContext, candidates: Sequence[Candidate], params: FilterParams) -> list[Decision]:
    rules = build_rules(params.rules)
    decisions = []
    for done, candidate in enumerate(candidates):
        if done % BATCH_ROWS == 0:
            context.check_stop()
            context.progress(report.Progress(done=done, total=len(candidates)))
        decisions.append(decide(candidate, rules))
    context.progress(report.Progress(done=len(candidates), total=len(candidates)))
    return decisions


def _distributions(
    completions: Path, decisions: Sequence[Decision], labels: Sequence[str], check_stop: Callable[[], None]
) -> Distributions:
    """Return the label distributions of the kept rows whose answers came with logprobs."""
    kept = {one.candidate.row_id for one in decisions if one.outcome == "kept"}
    found = {}
    for row in _rows_with_logprobs(completions, check_stop):
        if row["sample_index"] == 0 and row["row_id"] in kept:
            found[row["row_id"]] = label_distribution(_steps(row["logprobs"]), labels)
    return found


def _rows_with_logprobs(path: Path, check_stop: Callable[[], None]) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=_LOGPROBS):
            check_stop()
            yield from (row for row in batch.to_pylist() if row["logprobs"])


def _steps(logprobs: Sequence[Mapping[str, Any]]) -> list[Step]:
    return [
        (step["token"], step["logprob"], [(other["token"], other["logprob"]) for other in step["top"] or ()])
        for step in logprobs
    ]


def _kept(decision: Decision, soft: Distributions) -> dict[str, Any]:
    row = decision.candidate.input
    distribution = soft.get(decision.candidate.row_id)
    probabilities = None
    if distribution is not None and distribution.usable and distribution.probabilities is not None:
        # Rounded, so that the digest does not hang on the last bit of a machine's exponential function.
        probabilities = [round(probability, 9) for probability in distribution.probabilities]
    return {
        "row_id": row["row_id"],
        "split": row["split"],
        "messages": row["messages"],
        "answer": decision.answer,
        "soft": probabilities,
        "reference": row["reference"],
        "slices": row["slices"],
        "copies": row["copies"],
    }


def _rejected(decision: Decision) -> dict[str, Any]:
    judged = decision.candidate.judged
    return {
        "row_id": judged.row_id,
        "split": judged.split,
        "rule": decision.rule,
        "reason": decision.reason,
        "text": judged.text,
        "slices": list(decision.candidate.slices),
    }


def _json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _result(document: Mapping[str, Any], output_digest: str) -> StageResult:
    dropped: dict[str, int] = {}
    for entry in document["rules"]:
        dropped[entry["rule"]] = dropped.get(entry["rule"], 0) + entry["rows"]
    dropped.pop("teacher", None)
    counts = {name: document[name] for name in ("asked", "kept", "rejected", "failed")}
    soft_labels = document["softLabels"]["rows"]
    summary = {
        **counts,
        "discardShare": round(document["discardShare"], 4),
        "softLabels": soft_labels,
        **{f"rejectedBy{rule.title()}": rows for rule, rows in sorted(dropped.items())},
    }
    return StageResult(output_digest, {**counts, "softLabels": soft_labels}, summary)

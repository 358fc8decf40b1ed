"""README.md of a released model: a model card in the hub's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from distillery.api.dumping import dump_yaml
from distillery.scoring.gates import percent
from distillery.stages.evaluation.evidence import Document, Evidence

HUB_METRICS = {"accuracy": "accuracy", "macroF1": "f1", "exactMatch": "exact_match", "chrF": "chrf"}
"""Names of our metrics on the hub."""


def model_card(evidence: Evidence) -> str:
    """Return the card. The licence is left out: it follows from base model and data, which only the user knows."""
    sections = [
        f"---\n{dump_yaml(_front_matter(evidence))}---",
        f"# {_name(evidence)}",
        _what(evidence),
        "## Quality",
        _quality(evidence),
        "## Slices",
        _slices(evidence.metrics),
        "## Speed and cost",
        "\n".join(f"- {line}" for line in _speed_and_cost(evidence)),
        "## How to ask it",
        _usage(evidence),
        "## Provenance",
        "\n".join(f"- {line}" for line in _provenance(evidence)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _name(evidence: Evidence) -> str:
    release = evidence.params.release
    return release.name if release is not None else evidence.job


def _front_matter(evidence: Evidence) -> dict[str, Any]:
    base = evidence.params.base
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if base is not None and base.hub is not None:
        front |= {"base_model": base.hub, "base_model_relation": "finetune"}
    front["tags"] = ["distillation", "distillery"]
    metrics = [
        {"type": HUB_METRICS[item["name"]], "name": item["name"], "value": item["student"]}
        for item in evidence.metrics["metrics"]
        if item["student"] is not None
    ]
    overall = evidence.metrics["overall"]
    if overall["value"] is not None:
        metrics.append({"type": "retention", "name": _measure(evidence.metrics), "value": overall["value"]})
    if metrics:
        result = {
            "task": {"type": "text-generation"},
            "dataset": {"type": "distillery", "name": f"{evidence.job} test split"},
            "metrics": metrics,
        }
        front["model-index"] = [{"name": _name(evidence), "results": [result]}]
    return front


def _measure(metrics: Document) -> str:
    return "retention" if metrics["basis"] == "reference" else "agreement with the teacher"


def _what(evidence: Evidence) -> str:
    model = evidence.training["model"]
    return (
        f"A student of {model['parameters']:,} parameters ({model['type']}), distilled from "
        f"{code(evidence.teacher_name)}; it started from {code(evidence.base_name)}. "
        f"Verdict of its evaluation: **{evidence.verdict['verdict']}**."
    )


def _quality(evidence: Evidence) -> str:
    metrics = evidence.metrics
    overall = metrics["overall"]
    against = "references" if metrics["basis"] == "reference" else "the teacher"
    lines = [
        f"On {overall['rows']:,} test rows that training has never seen, compared with {against}:",
        "",
        f"| | teacher | student | {percent(metrics['confidence'], 0)} interval |",
        "|---|---|---|---|",
        f"| {_measure(metrics)} | | {share(overall['value'])} | {interval(overall['interval'])} |",
    ]
    for item in metrics["metrics"]:
        student = item["student"] if item["student"] is not None else item["studentAgainstTeacher"]
        lines.append(f"| {item['name']} | {share(item['teacher'])} | {share(student)} | |")
    agreement = metrics["agreement"]
    lines.append(f"| agreement | | {share(agreement['value'])} | {interval(agreement['interval'])} |")
    if metrics["servingNoise"] is not None:
        lines += [
            "",
            f"The teacher agrees with itself on {share(metrics['servingNoise']['value'])} of repeated rows.",
        ]
    return "\n".join(lines)


def _slices(metrics: Document) -> str:
    if not metrics["slices"]:
        return "The dataset has no slices."
    head = [f"| slice | rows | {_measure(metrics)} | interval |", "|---|---|---|---|"]
    return "\n".join(
        head
        + [
            f"| {cell(item['name'])} | {item['rows']:,} | {share(item['value'])} | {interval(item['interval'])} |"
            for item in metrics["slices"]
        ]
    )


def _speed_and_cost(evidence: Evidence) -> Iterator[str]:
    latency, cost = evidence.latency, evidence.cost
    for who in ("teacher", "student"):
        side = latency[who]
        if side is not None:
            times = f"p50 {side['p50Ms']:.3g} ms, p95 {side['p95Ms']:.3g} ms on {side['rows']} rows"
            yield f"{who}, {side['where']}: {times}"
    yield latency["note"]
    if cost["teacherPerThousand"] is not None:
        yield f"teacher: {cost['teacherPerThousand']} {cost['currency']} per 1,000 requests"
        yield cost["assumption"]


def _usage(evidence: Evidence) -> str:
    task = evidence.params.task
    lines = [
        "Send the same messages as in training: the system prompt below, then the row, through the chat template."
    ]
    if task.system_prompt is not None:
        lines += ["", fenced(task.system_prompt)]
    if task.output.labels:
        lines += [
            "",
            f"Score each of the {len(task.output.labels)} labels and take the most probable one; free generation gives "
            f"a label in {share((evidence.metrics['validity'] or {}).get('share'))} of the test rows.",
        ]
    return "\n".join(lines)


def _provenance(evidence: Evidence) -> list[str]:
    return [
        f"job: {code(evidence.job)}, evaluated {evidence.created_at}",
        f"evaluation: {code(evidence.identity)}",
        f"teacher: {code(evidence.params.teacher.identity)}",
        f"prompt digest: {code(evidence.prompt_digest)}",
        f"dataset digest: {code(evidence.dataset_digest)}",
        *(f"{stage} artifact: {code(manifest.identity)}" for stage, manifest in evidence.parents.items()),
    ]


def share(value: float | None) -> str:
    """Return a share as text, a dash where there is none."""
    return "–" if value is None else percent(value)


def interval(ends: Sequence[float] | None) -> str:
    """Return an interval of shares as text."""
    return "–" if ends is None else f"{percent(ends[0])} to {percent(ends[1])}"


def cell(text: str) -> str:
    """Return text that cannot break out of a Markdown table's cell."""
    flat = " ".join(text.split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def code(text: str) -> str:
    """Return text as inline code, whatever it holds."""
    return f"`{' '.join(text.split()).replace('`', '´')}`"


def fenced(text: str) -> str:
    """Return text as a code block whose fence is longer than any in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"

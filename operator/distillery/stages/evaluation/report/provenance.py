"""Where an evaluation came from, as pairs of name and value for the report. Pure."""

from __future__ import annotations

from typing import Any

from distillery.stages.evaluation.evidence import Evidence
from distillery.stages.evaluation.report.wording import DASH, number


def facts(evidence: Evidence) -> list[tuple[str, str]]:
    """Return the facts that make an evaluation repeatable."""
    params, training = evidence.params, evidence.training
    release = params.release
    return [
        ("Job", evidence.job),
        ("Evaluated", evidence.created_at),
        ("Evaluation", evidence.identity),
        ("Released as", _release(release.name, evidence) if release is not None else "no release asked for"),
        ("Teacher", evidence.teacher_name),
        ("Teacher in the answer cache", params.teacher.identity),
        (
            "Teacher parameters",
            _plain(params.teacher.parameters.model_dump(by_alias=True, exclude_none=True)),
        ),
        ("Student", f"{training['model']['type']}, started from {evidence.base_name}"),
        ("Student’s training rows", number(training["rows"]["train"]["used"])),
        ("Prompt digest", evidence.prompt_digest),
        ("Dataset digest", evidence.dataset_digest),
        *((f"Artifact of {stage}", manifest.identity) for stage, manifest in evidence.parents.items()),
        ("Seed of resampling", str(params.evaluation.seed)),
        ("Built with", _plain(_versions(evidence))),
    ]


def _release(name: str, evidence: Evidence) -> str:
    if evidence.verdict["verdict"] != "passed":
        return f"{name}: not released, since the verdict is {evidence.verdict['verdict']}"
    return f"{name}, version {evidence.identity[:12]}"


def _versions(evidence: Evidence) -> dict[str, Any]:
    versions = evidence.parents["student"].provenance
    return {
        name: versions[name] for name in ("distillery", "python", "torch", "transformers") if name in versions
    }


def _plain(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or DASH

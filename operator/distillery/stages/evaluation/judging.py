"""verdict.json: every gate of the spec applied to what was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery.api.v1alpha1.evaluation import Gates
from distillery.scoring.gates import (
    GateResult,
    latency_gate,
    retention_gate,
    slices_gate,
    teacher_failures_gate,
    verdict,
)
from distillery.stages.evaluation.quality import Quality, rounded

VERDICT_VERSION = 1


def judge(
    gates: Gates, quality: Quality, counts: Mapping[str, int], max_failed: float, latency: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the document: the verdict and each gate. A failed gate is a result, not an error.

    Args:
        gates: as the spec sets them.
        quality: estimates over the test rows.
        counts: rows of metrics.json.
        max_failed: share of test rows that the teacher may leave unanswered.
        latency: latency.json.
    """
    results = []
    if gates.retention is not None:
        results.append(
            retention_gate(quality.overall, gates.retention.min, quality.confidence, quality.basis)
        )
    if gates.slices is not None:
        results.append(slices_gate(quality.slices, gates.slices.min_retention, gates.slices.undecided))
    if gates.latency is not None:
        student = latency["student"]
        results.append(
            latency_gate(
                student["p95Ms"] if student else None, student["rows"] if student else 0, gates.latency.p95_ms
            )
        )
    results.append(teacher_failures_gate(counts["teacherFailed"], counts["test"], max_failed))
    return {
        "version": VERDICT_VERSION,
        "verdict": verdict(results),
        "gates": [_describe(result) for result in results],
    }


def _describe(gate: GateResult) -> dict[str, Any]:
    return {
        "name": gate.name,
        "result": gate.state,
        "value": rounded(gate.value),
        "threshold": gate.threshold,
        "blocks": gate.blocks,
        "message": gate.message,
    }

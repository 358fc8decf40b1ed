"""The evaluation in a handful of scalars, for the status and the closing table. Pure."""

from __future__ import annotations

from typing import Any

from distillery.stages.evaluation.evidence import Evidence


def summarise(evidence: Evidence, release_version: str | None) -> dict[str, Any]:
    """Return the summary; entries without a value are left out."""
    metrics, latency, cost = evidence.metrics, evidence.latency, evidence.cost
    overall, model = metrics["overall"], evidence.training["model"]
    teacher, student = latency["teacher"] or {}, latency["student"] or {}
    noise, validity = metrics["servingNoise"] or {}, metrics["validity"] or {}
    summary = {
        "verdict": evidence.verdict["verdict"],
        "retention": overall["value"],
        "agreement": metrics["agreement"]["value"],
        "rows": overall["rows"],
        "teacherFailed": metrics["rows"]["teacherFailed"],
        "basis": metrics["basis"],
        "interval": overall["interval"],
        "servingNoise": noise.get("value"),
        "validity": validity.get("share"),
        "teacherP50Ms": teacher.get("p50Ms"),
        "teacherP95Ms": teacher.get("p95Ms"),
        "studentP50Ms": student.get("p50Ms"),
        "studentP95Ms": student.get("p95Ms"),
        "teacherCostPerThousand": cost["teacherPerThousand"],
        "breakEvenRequests": cost["breakEvenRequests"],
        "studentParameters": model["parameters"],
        "studentSizeBytes": model["sizeBytes"],
        "releaseVersion": release_version,
        "gates": [
            {name: value for name, value in gate.items() if value is not None and name != "blocks"}
            for gate in evidence.verdict["gates"]
        ],
    }
    return {name: value for name, value in summary.items() if value is not None}

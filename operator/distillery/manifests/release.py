"""The ConfigMap by which a released student is found in the cluster. Not owned by the job: it outlives it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillery.api.v1alpha1.status import EvaluationStatus, ReleaseStatus
from distillery.manifests.metadata import MANAGED_BY_LABEL, MANAGER, Manifest
from distillery.planning.record import JobRef

PUBLISHER = "publisher"
"""Key that holds `<job>/<uid>` of the job that published last."""


@dataclass(frozen=True, slots=True)
class ReleasedBy:
    """The job that published a release: the release outlives it, so no owner says so."""

    name: str
    uid: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ReleasedBy | None:
        """Return who published what a ConfigMap holds; None if it is no release of ours."""
        labels = document["metadata"].get("labels") or {}
        name, _, uid = (document.get("data") or {}).get(PUBLISHER, "").partition("/")
        return cls(name, uid) if labels.get(MANAGED_BY_LABEL) == MANAGER and name and uid else None

    def __str__(self) -> str:
        return f"{self.name}/{self.uid}"


def release_name(name: str) -> str:
    """Return the name of the ConfigMap of a release."""
    return f"distillery-release-{name}"


def release_map(ref: JobRef, release: ReleaseStatus, evaluation: EvaluationStatus) -> Manifest:
    """Return what a deployment needs to find the student: name, version, where it lies, how good it is."""
    retention = "" if evaluation.retention is None else f"{evaluation.retention:.4f}"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": release_name(release.name),
            "namespace": ref.namespace,
            "labels": {MANAGED_BY_LABEL: MANAGER},
        },
        "data": {
            "name": release.name,
            "version": release.version,
            "uri": release.uri or "",
            "report": evaluation.report or "",
            "retention": retention,
            PUBLISHER: str(ReleasedBy(ref.name, ref.uid)),
        },
    }

"""The ConfigMap by which a released student is found in the cluster. Not owned by the job: it outlives it. Pure."""

from __future__ import annotations

from distillery.api.v1alpha1.status import EvaluationStatus, ReleaseStatus
from distillery.manifests.metadata import MANAGED_BY_LABEL, MANAGER, Manifest
from distillery.planning.record import JobRef

PUBLISHER = "publisher"
"""Key that holds `<job>/<uid>` of the job that published last."""


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
            PUBLISHER: f"{ref.name}/{ref.uid}",
        },
    }

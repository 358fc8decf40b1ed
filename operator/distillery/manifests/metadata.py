"""Metadata that all children share: labels, annotations, the owner. User labels are never copied. Pure."""

from __future__ import annotations

from typing import Any

from distillery.api.v1alpha1.common import API_VERSION, GROUP
from distillery.api.v1alpha1.distillation_job import KIND
from distillery.manifests.names import MAX_LABEL_VALUE
from distillery.planning.record import JobRef
from distillery.stages.stage import StageName

Manifest = dict[str, Any]
"""A Kubernetes object or a part of one, as JSON."""

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGER = "distillery"
JOB_LABEL = f"{GROUP}/job"
JOB_UID_LABEL = f"{GROUP}/job-uid"
STAGE_LABEL = f"{GROUP}/stage"
ATTEMPT_LABEL = f"{GROUP}/attempt"
DIGEST_ANNOTATION = f"{GROUP}/digest"
"""What an attempt was rendered from; an existing object is adopted only if it carries the same."""


def job_labels(ref: JobRef) -> dict[str, str]:
    """Return the labels of every child."""
    return {
        MANAGED_BY_LABEL: MANAGER,
        JOB_LABEL: ref.name[:MAX_LABEL_VALUE].rstrip("-."),
        JOB_UID_LABEL: ref.uid,
    }


def attempt_labels(ref: JobRef, stage: StageName, attempt: int) -> dict[str, str]:
    """Return the labels of an attempt's RayJob, ConfigMap and pods."""
    return {**job_labels(ref), STAGE_LABEL: stage, ATTEMPT_LABEL: str(attempt)}


def child_metadata(
    ref: JobRef,
    name: str,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Manifest:
    """Return the metadata of a child in the job's namespace, owned by the job.

    The owner does not wait for its children when it is deleted in the foreground: no child may block a job.
    """
    metadata: Manifest = {
        "name": name,
        "namespace": ref.namespace,
        "labels": labels if labels is not None else job_labels(ref),
        "ownerReferences": [owner_reference(ref)],
    }
    if annotations:
        metadata["annotations"] = annotations
    return metadata


def owner_reference(ref: JobRef) -> Manifest:
    """Return the reference by which the garbage collector removes children with the job."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": ref.name,
        "uid": ref.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }

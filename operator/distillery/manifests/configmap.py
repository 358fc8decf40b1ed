"""The ConfigMaps of a job: record, reports, profile snapshot, and one assignment per attempt. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from distillery.artifacts.manifest import canonical_json, digest
from distillery.manifests.metadata import DIGEST_ANNOTATION, Manifest, attempt_labels, child_metadata
from distillery.manifests.names import record_name, reports_name
from distillery.planning.profile import Profile
from distillery.planning.record import JobRef
from distillery.stages.assignment import Assignment

ASSIGNMENT_KEY = "assignment.json"
PROFILE_KEY = "profile.json"
RECIPES_KEY = "recipes.json"


def record_map(ref: JobRef) -> Manifest:
    """Return the empty record: what the operator must not forget about the job's attempts."""
    return _config_map(child_metadata(ref, record_name(ref)), {})


def reports_map(ref: JobRef) -> Manifest:
    """Return the empty reports: where the job's workers say how they fare."""
    return _config_map(child_metadata(ref, reports_name(ref)), {})


def snapshot_map(ref: JobRef, name: str, profile: Profile, recipes: Mapping[str, str]) -> Manifest:
    """Return what a generation begins with, under this name; later edits of the profile do not reach it.

    The recipes are those of its stages: a later release that makes another one does not undo what is finished.
    """
    data = {PROFILE_KEY: profile.to_wire(), RECIPES_KEY: dict(recipes)}
    texts = {key: canonical_json(value).decode() for key, value in data.items()}
    return _config_map(child_metadata(ref, name), texts) | {"immutable": True}


def assignment_map(ref: JobRef, name: str, assignment: Assignment) -> Manifest:
    """Return what the attempt called `name` reads in its head pod."""
    metadata = child_metadata(
        ref,
        name,
        attempt_labels(ref, assignment.run.stage, assignment.attempt),
        {DIGEST_ANNOTATION: assignment_digest(assignment)},
    )
    text = canonical_json(assignment.to_wire()).decode()
    return _config_map(metadata, {ASSIGNMENT_KEY: text}) | {"immutable": True}


def assignment_digest(assignment: Assignment) -> str:
    """Return what tells two attempts of the same name apart: the digest of all that the worker is told."""
    return digest(assignment.to_wire())


def _config_map(metadata: Manifest, data: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

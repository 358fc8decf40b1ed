"""The RayJob of an attempt: one Ray cluster that runs one stage once. Pure."""

from __future__ import annotations

from itertools import product
from typing import Final, get_args

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.errors import Problem, SpecError
from distillery.manifests.configmap import assignment_digest
from distillery.manifests.metadata import DIGEST_ANNOTATION, Manifest, child_metadata
from distillery.manifests.pods import Attempt, pod_resources, pod_shape, pod_template
from distillery.manifests.secrets import secret_problems
from distillery.manifests.sizing import Role, ray_start_params
from distillery.manifests.templates import mount_problems, template_problems
from distillery.planning.profile import Profile
from distillery.planning.record import JobRef
from distillery.stages.assignment import Assignment
from distillery.stages.stage import STAGE_NAMES

ENTRYPOINT: Final = "python -m distillery.worker"
"""Constant: what the worker is to do lies in a file, so that nothing of a spec reaches a shell."""
WORKER_GROUP: Final = "workers"
RAY_VERSION: Final = "2.60.0"
"""The least that the worker image holds. KubeRay must be told one, else it refuses token authentication."""


def rayjob(
    ref: JobRef, name: str, assignment: Assignment, spec: DistillationJobSpec, profile: Profile
) -> Manifest:
    """Return the RayJob `name` of an attempt.

    KubeRay submits it over HTTP, never retries it and removes its cluster when it ends; attempts, deadlines and
    suspension are the operator's (`spec.suspend` of a RayJob belongs to a queue).

    Raises: SpecError with the problems that `render_problems` returns.
    """
    problems = render_problems(spec, profile, assignment)
    if problems:
        raise SpecError(*problems)
    attempt = Attempt(ref, name, assignment, spec, profile)
    annotations = {DIGEST_ANNOTATION: assignment_digest(assignment)}
    labels = dict(profile.queue_labels) | attempt.labels
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": child_metadata(ref, name, labels, annotations),
        "spec": {
            "submissionMode": "HTTPMode",
            "entrypoint": ENTRYPOINT,
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 0,
            "rayClusterSpec": _cluster(attempt),
        },
    }


def render_problems(spec: DistillationJobSpec, profile: Profile, assignment: Assignment) -> list[Problem]:
    """Return why an attempt cannot be rendered: secrets that collide, templates that say what they may not."""
    return [*secret_problems(spec, assignment.storage), *pod_problems(profile)]


def pod_problems(profile: Profile) -> list[Problem]:
    """Return what the profile's pod templates say that they may not, of every stage and role."""
    roles: tuple[Role, ...] = get_args(Role)
    problems: list[Problem] = []
    for part, role in product(("default", *STAGE_NAMES), roles):
        template = getattr(getattr(profile.pods, part), role)
        problems += template_problems(template or {}, role, f"spec.pods.{part}.{role}")
    if problems:
        return problems
    for stage, role in product(STAGE_NAMES, roles):
        problems += mount_problems(pod_shape(profile, stage, role), f"spec.pods.{stage}.{role}")
    return problems


def _cluster(attempt: Attempt) -> Manifest:
    workers = attempt.assignment.workers
    cluster: Manifest = {
        "rayVersion": attempt.profile.ray_version or RAY_VERSION,
        "authOptions": {"mode": "token"},
        "headGroupSpec": _group(attempt, "head", works=not workers),
        "workerGroupSpecs": [],
    }
    if workers:
        group = {
            "groupName": WORKER_GROUP,
            "replicas": workers,
            "minReplicas": workers,
            "maxReplicas": workers,
        }
        cluster["workerGroupSpecs"] = [group | _group(attempt, "worker", works=True)]
    return cluster


def _group(attempt: Attempt, role: Role, *, works: bool) -> Manifest:
    return {
        "rayStartParams": ray_start_params(role, pod_resources(attempt, role), works=works),
        "template": pod_template(attempt, role),
    }

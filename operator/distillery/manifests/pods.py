"""Pod templates of a Ray cluster: the profile's shape, our contents, restricted Pod Security throughout. Pure.

KubeRay adds an init container to worker pods with image, environment, mounts and security context of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.distillation_profile import StagePods
from distillery.manifests.configmap import ASSIGNMENT_KEY
from distillery.manifests.metadata import Manifest, attempt_labels
from distillery.manifests.rbac import account_of
from distillery.manifests.secrets import secret_env, secret_uses
from distillery.manifests.sizing import (
    HEAD,
    WORKERS,
    Resources,
    Role,
    cores_of,
    fit_resources,
    shared_memory,
    wanted_resources,
)
from distillery.manifests.templates import CONTAINER_NAMES, append_items, merge_templates
from distillery.planning.profile import Profile
from distillery.planning.record import JobRef
from distillery.stages.assignment import Assignment
from distillery.stages.stage import StageName

USER: Final = 1000
GRACE_SECONDS: Final = 10
"""Between SIGTERM and SIGKILL. Stopping is arranged before a RayJob is deleted, so nothing waits for more."""
ASSIGNMENT_FOLDER: Final = "/etc/distillery"
SCRATCH_FOLDER: Final = "/var/lib/distillery"

POD_SECURITY: Final[Manifest] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Final[Manifest] = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt's objects are rendered from. `name` is that of its RayJob and of its ConfigMap."""

    ref: JobRef
    name: str
    assignment: Assignment
    spec: DistillationJobSpec
    profile: Profile

    @property
    def stage(self) -> StageName:
        """The stage at work."""
        return self.assignment.run.stage

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the RayJob and of its pods."""
        return attempt_labels(self.ref, self.stage, self.assignment.attempt)


def pod_template(attempt: Attempt, role: Role) -> Manifest:
    """Return the PodTemplateSpec of the head or of a worker."""
    shape = pod_shape(attempt.profile, attempt.stage, role)
    container = _container(attempt, role, shape["spec"]["containers"][0])
    ours: Manifest = {
        "restartPolicy": "Never",  # a pod is one life: its end stays visible, and KubeRay replaces the pod
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "serviceAccountName": account_of(attempt.ref, attempt.profile),
        "automountServiceAccountToken": role == "head",
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
        "containers": [container],
    }
    spec: Manifest = shape["spec"] | ours
    if attempt.profile.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in attempt.profile.image_pull_secrets]
    volumes = _volumes(attempt, role, container["resources"])
    spec["volumes"] = append_items("volumes", spec.get("volumes", []), volumes)
    metadata: Manifest = shape["metadata"]
    labels = (metadata.get("labels") or {}) | attempt.labels
    return {"metadata": metadata | {"labels": labels}, "spec": spec}


def pod_resources(attempt: Attempt, role: Role) -> Resources:
    """Return the resources of the head's or a worker's container: ours, the profile's, the spec's, in this order."""
    given = pod_shape(attempt.profile, attempt.stage, role)["spec"]["containers"][0].get("resources", {})
    if role == "head":
        return fit_resources(HEAD, given)
    return fit_resources(WORKERS[attempt.stage], given, wanted_resources(attempt.spec, attempt.stage))


def pod_shape(profile: Profile, stage: StageName, role: Role) -> Manifest:
    """Return what the profile says about a stage's head or workers."""
    pods: tuple[StagePods, ...] = (profile.pods.default, getattr(profile.pods, stage))
    return merge_templates(role, *(getattr(group, role) for group in pods))


def _container(attempt: Attempt, role: Role, shape: Manifest) -> Manifest:
    return {
        "name": CONTAINER_NAMES[role],
        "image": attempt.profile.image,
        "imagePullPolicy": attempt.profile.image_pull_policy,
        "resources": pod_resources(attempt, role),
        "securityContext": CONTAINER_SECURITY,
        "env": append_items("env", shape.get("env", []), _env(attempt, role)),
        "volumeMounts": append_items("volumeMounts", shape.get("volumeMounts", []), _mounts(role)),
    }


def _env(attempt: Attempt, role: Role) -> list[Manifest]:
    env = {
        "HOME": "/tmp",  # the user has no entry in the image's passwd, and the root file system is read-only
        "RAY_USAGE_STATS_ENABLED": "0",
        "DISTILLERY_FOLDER": SCRATCH_FOLDER,
    }
    if role == "head":
        env["DISTILLERY_ASSIGNMENT"] = f"{ASSIGNMENT_FOLDER}/{ASSIGNMENT_KEY}"
    elif (cores := cores_of(attempt.spec, attempt.stage)) is not None:
        env["DISTILLERY_CORES"] = str(cores)
    plain: list[Manifest] = [{"name": name, "value": value} for name, value in env.items()]
    return plain + secret_env(secret_uses(attempt.spec, attempt.assignment.storage, attempt.stage))


def _volumes(attempt: Attempt, role: Role, resources: Resources) -> list[Any]:
    volumes: list[Manifest] = [
        {"name": "distillery-tmp", "emptyDir": {}},
        {"name": "distillery-scratch", "emptyDir": {}},
        {
            "name": "distillery-shared-memory",
            "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory(resources)},
        },
    ]
    if role == "head":
        volumes.append({"name": "distillery-assignment", "configMap": {"name": attempt.name}})
    return volumes


def _mounts(role: Role) -> list[Any]:
    mounts: list[Manifest] = [
        {"name": "distillery-tmp", "mountPath": "/tmp"},
        {"name": "distillery-scratch", "mountPath": SCRATCH_FOLDER},
        {"name": "distillery-shared-memory", "mountPath": "/dev/shm"},
    ]
    if role == "head":
        mounts.append({"name": "distillery-assignment", "mountPath": ASSIGNMENT_FOLDER, "readOnly": True})
    return mounts

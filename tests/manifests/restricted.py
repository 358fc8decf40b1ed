"""The restricted Pod Security Standard as a strict checker: what is not known to be allowed is an offence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
POD_SECURITY_FIELDS = {
    "runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "seccompProfile",
    "supplementalGroups",
}  # fmt: skip
CONTAINER_SECURITY_FIELDS = {
    "runAsNonRoot", "runAsUser", "runAsGroup", "allowPrivilegeEscalation", "readOnlyRootFilesystem",
    "capabilities", "seccompProfile",
}  # fmt: skip


def offences(template: dict[str, Any]) -> list[str]:
    """Return every rule of the standard that a pod template breaks."""
    return list(_offences(template))


def with_init_container(template: dict[str, Any]) -> dict[str, Any]:
    """Return the pod as KubeRay makes it of a worker's template (common/pod.go, DefaultWorkerPodTemplate)."""
    [container] = template["spec"]["containers"]
    init = {
        "name": "wait-gcs-ready",
        "image": container["image"],
        "command": ["/bin/bash", "-c", "--"],
        "securityContext": container.get("securityContext"),
        "env": container.get("env"),
        "volumeMounts": container.get("volumeMounts"),
    }
    return {**template, "spec": {**template["spec"], "initContainers": [init]}}


def _offences(template: dict[str, Any]) -> Iterator[str]:
    spec = template["spec"]
    for field in ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "ephemeralContainers"):
        if field in spec:
            yield f"spec.{field}"
    for annotation in template["metadata"].get("annotations", {}):
        if "apparmor" in annotation or "seccomp" in annotation:
            yield f"annotation {annotation}"
    for volume in spec.get("volumes", []):
        if set(volume) - {"name"} - VOLUME_TYPES:
            yield f"volume {volume}"
    pod = spec.get("securityContext", {})
    yield from (f"spec.securityContext.{field}" for field in set(pod) - POD_SECURITY_FIELDS)
    if pod.get("runAsUser") == 0:
        yield "spec.securityContext.runAsUser"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        yield from (f"{container['name']}: {offence}" for offence in _container_offences(container))


def _container_offences(container: dict[str, Any]) -> Iterator[str]:
    context = container.get("securityContext") or {}
    yield from (f"securityContext.{field}" for field in set(context) - CONTAINER_SECURITY_FIELDS)
    wanted = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for field, value in wanted.items():
        if context.get(field) != value:
            yield field
    if not context.get("runAsUser"):
        yield "runAsUser"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "hostPort"
    for hook in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if hook in container:
            yield hook

"""Objects as the API server gives them → the small views that planning works with. Pure.

What is not there or not understood is left empty: a projection never fails on what another program wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from distillery.api.sizes import shortage
from distillery.manifests.metadata import (
    ATTEMPT_LABEL,
    JOB_UID_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    STAGE_LABEL,
)
from distillery.planning.children import ClusterView, ObjectView, Owner, PodView, RayJobView

MAX_MESSAGE = 500
RAY_NODE_TYPE = "ray.io/node-type"

HARMLESS_WAITING = frozenset({"ContainerCreating", "PodInitializing"})
"""Waiting reasons of a pod that is on its way."""
EVICTIONS = frozenset({"Evicted", "NodeLost", "NodeShutdown", "Terminated", "Preempting", "Shutdown"})
"""Reasons by which a kubelet or the node controller ends a pod from outside."""
REFUSALS = frozenset({"UnexpectedAdmissionError", "NodeAffinity", "OutOfcpu", "OutOfmemory", "OutOfpods"})
"""Reasons by which a kubelet refuses a pod that the scheduler had given it: as good as an eviction."""

REPLICA_FAILURE = "ReplicaFailure"
"""Condition of a RayCluster one of whose pods cannot be created or deleted."""
_CREATES = "FailedCreate"
"""How its reasons begin that are about creating; their names stand before the message, too."""
_REFUSES = re.compile(r"forbidden|exceeded quota|denied the request|failed calling webhook")
"""How the API server words it. Releases of KubeRay without that condition say it in `status.reason` alone."""
_SUFFIX = re.compile(r"((?:head|worker)-)[a-z0-9]{5}(?![-a-z0-9])")
"""KubeRay tries each time under another name, which would make a new message of the same refusal."""

Document = Mapping[str, Any]


def project_rayjob(document: Document) -> RayJobView:
    """Return the view of a RayJob."""
    status, spec = _part(document, "status"), _part(document, "spec")
    return RayJobView(
        **_identity(document),
        job_status=_text(status, "jobStatus"),
        deployment_status=_text(status, "jobDeploymentStatus"),
        reason=_text(status, "reason"),
        message=_text(status, "message"),
        started_at=_seconds(status.get("startTime")),
        ended_at=_seconds(status.get("endTime")),
        suspended=spec.get("suspend") is True,
        terminating=bool(_part(document, "metadata").get("deletionTimestamp")),
    )


def project_cluster(document: Document) -> ClusterView:
    """Return the view of a RayCluster."""
    terminating = bool(_part(document, "metadata").get("deletionTimestamp"))
    refusal, held = _refusal(_part(document, "status"))
    return ClusterView(**_identity(document), terminating=terminating, refusal=refusal, held=held)


def project_pod(document: Document) -> PodView:
    """Return the view of a pod."""
    metadata, status, spec = (_part(document, part) for part in ("metadata", "status", "spec"))
    evicted, eviction = _evicted(status)
    trouble, message = _trouble(status)
    return PodView(
        **_identity(document),
        phase=_text(status, "phase"),
        head=_part(metadata, "labels").get(RAY_NODE_TYPE) == "head",
        ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in _conditions(status)),
        trouble=trouble,
        message=eviction if evicted else message,
        evicted=evicted,
        ended=_ended(status),
        unready_since=_unready_since(status),
        shortage=_shortage(spec),
        node=_text(spec, "nodeName"),
        terminating_at=_seconds(metadata.get("deletionTimestamp")),
        oom_killed=any(_reason_of_end(container) == "OOMKilled" for container in _containers(status)),
    )


def project_object(document: Document) -> ObjectView:
    """Return to whom an object of any kind says that it belongs."""
    return ObjectView(**_belonging(_part(document, "metadata")))


def _identity(document: Document) -> dict[str, Any]:
    metadata = _part(document, "metadata")
    labels = _part(metadata, "labels")
    stage, attempt = labels.get(STAGE_LABEL), labels.get(ATTEMPT_LABEL)
    return {
        **_belonging(metadata),
        "key": f"{stage}.{attempt}" if stage and attempt else "",
        "created_at": _seconds(metadata.get("creationTimestamp")) or 0.0,
        "version": _version(metadata),
    }


def _belonging(metadata: Document) -> dict[str, Any]:
    labels = _part(metadata, "labels")
    return {
        "namespace": _text(metadata, "namespace"),
        "name": _text(metadata, "name"),
        "uid": _text(metadata, "uid"),
        "job_uid": _text(labels, JOB_UID_LABEL),
        "managed": labels.get(MANAGED_BY_LABEL) == MANAGER,
        "owner": _owner(metadata),
    }


def _owner(metadata: Document) -> Owner | None:
    """Return what controls an object: the API server lets one reference alone say so."""
    for reference in _mappings(metadata.get("ownerReferences")):
        if reference.get("controller") is True:
            group = _text(reference, "apiVersion").rpartition("/")[0]
            return Owner(group, *(_text(reference, part) for part in ("kind", "name", "uid")))
    return None


def _refusal(status: Document) -> tuple[str, bool]:
    """Return why KubeRay cannot create or delete a pod, and whether it is about creating; or nothing."""
    for condition in _conditions(status):
        if condition.get("type") == REPLICA_FAILURE and condition.get("status") == "True":
            reason = _text(condition, "reason")
            words = _text(condition, "message").removeprefix(reason).strip() or reason
            return _SUFFIX.sub(r"\1…", words), reason.startswith(_CREATES)
    words = _text(status, "reason")
    return _SUFFIX.sub(r"\1…", words), _REFUSES.search(words) is not None


def _ended(status: Document) -> str:
    """Return how the containers of a pod ended, which do not start again; a prepared one ends well, and has done."""
    for container in _containers(status):
        terminated = _part(_part(container, "state"), "terminated")
        code = terminated.get("exitCode")
        prepares = container in list(_mappings(status.get("initContainerStatuses")))
        if not terminated or (prepares and code == 0):
            continue
        name, reason = _text(container, "name"), _text(terminated, "reason")
        told = f"container {name} ended with exit code {code}" + (f" ({reason})" if reason else "")
        return f"{told}: {_text(terminated, 'message')}".removesuffix(": ")[:MAX_MESSAGE]
    if status.get("phase") in ("Succeeded", "Failed"):
        return f"it {_text(status, 'phase').lower()}: {_text(status, 'message')}".removesuffix(": ")
    return ""


def _unready_since(status: Document) -> float | None:
    """Return since when a pod runs without being ready: Ray has not started in it, or its probes fail."""
    if status.get("phase") != "Running":
        return None
    for condition in _conditions(status):
        if condition.get("type") == "Ready" and condition.get("status") == "False":
            return _seconds(condition.get("lastTransitionTime"))
    return None


def _shortage(spec: Document) -> str:
    """Say what of the Ray container's resources, the first's, is less than Ray needs."""
    first = next(iter(_mappings(spec.get("containers"))), {})
    resources = _part(first, "resources")
    requests, limits = (
        {name: str(amount) for name, amount in _part(resources, part).items()}
        for part in ("requests", "limits")
    )
    return shortage(requests, limits)


def _evicted(status: Document) -> tuple[str, str]:
    """Return why a pod was taken away and the words for it, or nothing."""
    for condition in _conditions(status):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _text(condition, "reason") or "DisruptionTarget", _text(condition, "message")
    reason = _text(status, "reason")
    if status.get("phase") == "Failed" and reason in EVICTIONS | REFUSALS:
        return reason, _text(status, "message")
    if reason == "NodeLost":
        return reason, _text(status, "message")
    return "", ""


def _trouble(status: Document) -> tuple[str, str]:
    """Return why a pod does not run and the words for it: not scheduled, a container that waits, one that ended."""
    if status.get("phase") in ("Succeeded", "Failed"):
        return _text(status, "reason"), _text(status, "message")
    for condition in _conditions(status):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _text(condition, "reason"), _text(condition, "message")
    for container in _containers(status):
        waiting = _part(_part(container, "state"), "waiting")
        reason = _text(waiting, "reason")
        if reason and reason not in HARMLESS_WAITING:
            words = _text(waiting, "message")
            return reason, f"container {_text(container, 'name')}: {words}"[:MAX_MESSAGE] if words else ""
    return "", ""


def _reason_of_end(container: Document) -> str:
    """Return why a container ended, now or before its last restart."""
    for state in (_part(container, "state"), _part(container, "lastState")):
        reason = _text(_part(state, "terminated"), "reason")
        if reason:
            return reason
    return ""


def _containers(status: Document) -> Iterator[Document]:
    """Yield the statuses of init containers, then of containers."""
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from _mappings(status.get(field))


def _conditions(status: Document) -> Iterator[Document]:
    yield from _mappings(status.get("conditions"))


def _mappings(value: Any) -> Iterable[Document]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _part(document: Document, name: str) -> Document:
    part = document.get(name)
    return part if isinstance(part, Mapping) else {}


def _text(document: Document, name: str) -> str:
    value = document.get(name)
    return value[:MAX_MESSAGE] if isinstance(value, str) else ""


def _seconds(stamp: Any) -> float | None:
    """Return a Kubernetes time in seconds since the epoch."""
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except (TypeError, ValueError):
        return None


def _version(metadata: Document) -> int:
    """Return the resourceVersion as the number that it is on every API server known; 0 if it should not be one."""
    text = _text(metadata, "resourceVersion")
    return int(text) if text.isdecimal() else 0

"""What the watches want of an object: its names and what the handlers read. Pure.

An object may be 1.5 MB large and 35 times that in memory, there may be hundreds, and Kopf keeps each for half a
second. So nothing else gets that far.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillery.kube.session import View

METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
LABELS = ("distillery.dev/", "app.kubernetes.io/", "ray.io/")
"""Beginnings of the labels that say something to us."""
SIZES = ("cpu", "memory")
MOST_STATUS_BYTES = 64 * 1024
"""No honest status comes near; without one a child counts as one that has not begun."""


@dataclass(frozen=True, slots=True)
class Named:
    """Which object a document is. `namespace` is empty for kinds that have none."""

    uid: str
    namespace: str
    name: str


def named(document: Mapping[str, Any]) -> Named | None:
    """Return which object a document is; None if it does not say so."""
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    uid, namespace, name = (metadata.get(key, "") for key in ("uid", "namespace", "name"))
    if not (isinstance(uid, str) and isinstance(namespace, str) and isinstance(name, str) and uid and name):
        return None
    return Named(uid, namespace, name)


def wanted(*, spec: Sequence[str] = (), status: bool = False, sizes: bool = False) -> View:
    """Return a view with the names, our labels, the owner, and some fields of the spec that are no structures.

    Args:
        spec: names of the fields.
        status: whether the status is wanted too.
        sizes: whether it is wanted what the first container takes of CPU and memory.
    """

    def view(document: dict[str, Any]) -> dict[str, Any] | None:
        if named(document) is None:
            return None
        seen: dict[str, Any] = {"metadata": _metadata(document["metadata"])}
        whole = document.get("spec")
        if spec and isinstance(whole, dict):
            fields = {key: whole[key] for key in spec if key in whole}
            seen["spec"] = {key: value for key, value in fields.items() if not isinstance(value, dict | list)}
            if sizes:
                seen["spec"]["containers"] = [{"resources": _sizes(whole.get("containers"))}]
        if status and len(json.dumps(document.get("status"))) <= MOST_STATUS_BYTES:
            seen["status"] = document.get("status")
        return seen

    return view


def _sizes(containers: Any) -> dict[str, dict[str, str]]:
    """Return the requests and limits of the first container, Ray's, as far as they are compared with anything."""
    first = containers[0] if isinstance(containers, list) and containers else None
    resources = first.get("resources") if isinstance(first, dict) else None
    found: dict[str, dict[str, str]] = {}
    for part in ("requests", "limits"):
        amounts = resources.get(part) if isinstance(resources, dict) else None
        if isinstance(amounts, dict):
            found[part] = {name: str(amounts[name]) for name in SIZES if name in amounts}
    return found


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    labels, owners = metadata.get("labels"), metadata.get("ownerReferences")
    return {
        **{key: metadata[key] for key in METADATA if key in metadata},
        "labels": {
            key: value
            for key, value in (labels.items() if isinstance(labels, dict) else ())
            if key.startswith(LABELS)
        },
        # There is at most one controller among them.
        "ownerReferences": [
            owner
            for owner in (owners if isinstance(owners, list) else ())
            if isinstance(owner, dict) and owner.get("controller") is True
        ],
    }

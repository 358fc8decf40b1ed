"""The profile's pod templates: how they are merged, and what they may not say. Pure.

A template is a partial PodTemplateSpec. It may shape where pods run and what their one container gets; what
would make a pod leave restricted Pod Security, or Ray unable to start, is refused with its field's path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from distillery.api.quantities import parse_quantity
from distillery.errors import Problem
from distillery.manifests.metadata import Manifest
from distillery.manifests.sizing import Role

CONTAINER_NAMES: Final[Mapping[Role, str]] = {"head": "ray-head", "worker": "ray-worker"}

POD_FIELDS: Final[Mapping[str, type]] = {
    "affinity": dict,
    "containers": list,
    "dnsConfig": dict,
    "dnsPolicy": str,
    "hostAliases": list,
    "nodeSelector": dict,
    "priorityClassName": str,
    "runtimeClassName": str,
    "schedulerName": str,
    "tolerations": list,
    "topologySpreadConstraints": list,
    "volumes": list,
}
CONTAINER_FIELDS: Final[Mapping[str, type]] = {
    "name": str,
    "resources": dict,
    "env": list,
    "volumeMounts": list,
}
RESTRICTED_VOLUMES: Final[Mapping[str, type]] = {
    "configMap": dict,
    "csi": dict,
    "downwardAPI": dict,
    "emptyDir": dict,
    "ephemeral": dict,
    "persistentVolumeClaim": dict,
    "projected": dict,
    "secret": dict,
}
"""Volume types of the restricted Pod Security Standard; `image` is left out as too new."""
RESERVED_METADATA: Final = ("ray.io/", "distillery.dev/", "container.apparmor.security.beta.kubernetes.io/")
"""Prefixes of labels and annotations with which a template would steer KubeRay, us, or AppArmor."""
RESERVED_ENV: Final = (
    "DISTILLERY_",
    "RAY_ADDRESS",
    "RAY_AUTH",
    "RAY_REDIS",
    "REDIS_",
    "RAY_enable_autoscaler",
)
"""Prefixes of variables with which one would switch off authentication or turn Ray into something else."""

_APPENDED: Final[Mapping[str, Callable[[Any], object]]] = {
    "tolerations": lambda item: item,
    "volumes": lambda item: item.get("name"),
    "env": lambda item: item.get("name"),
    "volumeMounts": lambda item: item.get("mountPath"),
}
"""Lists that grow from layer to layer, and what makes two items the same; of these the later stays."""


def merge_templates(role: Role, *templates: Mapping[str, Any] | None) -> Manifest:
    """Return the templates as one, later over earlier, with exactly one container; they must be free of problems.

    Mappings are merged key by key, null takes a key out, lists replace each other except those that append.
    """
    merged: Manifest = {"metadata": {}, "spec": {"containers": [{}]}}
    for template in templates:
        said = template or {}
        merged = {part: _merge(inner, said.get(part) or {}) for part, inner in merged.items()}
    merged["spec"]["containers"][0]["name"] = CONTAINER_NAMES[role]
    return merged


def append_items(key: str, items: list[Any], more: list[Any]) -> list[Any]:
    """Return `items` with `more` behind them; of two that are the same (see above) only the later stays."""
    same = _APPENDED[key]
    replaced = [same(item) for item in more]
    return [item for item in items if same(item) not in replaced] + more


def template_problems(template: Mapping[str, Any], role: Role, path: str) -> list[Problem]:
    """Return what a template says that it may not; `path` is its field in the profile."""
    found = _Findings()
    template = found.mapping(template, {"metadata": dict, "spec": dict}, path)
    metadata = found.mapping(
        template.get("metadata"), {"labels": dict, "annotations": dict}, f"{path}.metadata"
    )
    for part, entries in metadata.items():
        for key, value in entries.items():
            here = f"{path}.metadata.{part}.{key}"
            if key.startswith(RESERVED_METADATA):
                found.add(here, "is reserved", "remove it")
            elif not isinstance(value, str):
                found.add(here, "is not a text", "put it in quotes")
    spec = found.mapping(template.get("spec"), POD_FIELDS, f"{path}.spec")
    for field in ("tolerations", "topologySpreadConstraints", "hostAliases"):
        found.items(spec.get(field), f"{path}.spec.{field}")
    for here, volume in found.items(spec.get("volumes"), f"{path}.spec.volumes", "name"):
        found.mapping(volume, {"name": str, **RESTRICTED_VOLUMES}, here, "by restricted Pod Security")
    _judge_containers(spec.get("containers"), role, f"{path}.spec.containers", found)
    return found.problems


def mount_problems(shape: Mapping[str, Any], path: str) -> list[Problem]:
    """Return the mounts of a merged template whose volume does not exist."""
    volumes = {volume["name"] for volume in shape["spec"].get("volumes", [])}
    return [
        Problem(
            f"{path}.spec.containers[0].volumeMounts[{index}].name",
            f"{mount['name']} is none of the volumes",
            "add the volume or correct the name",
        )
        for index, mount in enumerate(shape["spec"]["containers"][0].get("volumeMounts", []))
        if mount["name"] not in volumes
    ]


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Manifest:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if key == "containers":
            merged[key] = [_merge(old[0], value[0])] if old and value else old
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = _merge(old if isinstance(old, Mapping) else {}, value)
        elif key in _APPENDED and isinstance(value, list):
            merged[key] = append_items(key, old or [], value)
        else:
            merged[key] = value
    return merged


def _judge_containers(containers: object, role: Role, path: str, found: _Findings) -> None:
    name = CONTAINER_NAMES[role]
    for index, (here, item) in enumerate(found.items(containers, path)):
        if index or item.get("name", name) != name:
            found.add(here, "is not the container that can be shaped", f"keep one container, named {name}")
            continue
        container = found.mapping(item, CONTAINER_FIELDS, here)
        for place, variable in found.items(container.get("env"), f"{here}.env", "name"):
            if str(variable.get("name")).startswith(RESERVED_ENV):
                found.add(f"{place}.name", f"{variable['name']} is reserved", "remove it")
        found.items(container.get("volumeMounts"), f"{here}.volumeMounts", "name", "mountPath")
        parts = {"requests": dict, "limits": dict}
        resources = found.mapping(container.get("resources"), parts, f"{here}.resources")
        for part, quantities in resources.items():
            for resource, amount in quantities.items():
                try:
                    parse_quantity(str(amount))
                except ValueError as error:
                    found.add(f"{here}.resources.{part}.{resource}", str(error), "correct it")


class _Findings:
    """Problems found on the way through a free-form value; what is wrong is left out of what is handed on."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, path: str, message: str, repair: str) -> None:
        self.problems.append(Problem(path, message, repair))

    def mapping(
        self, value: object, fields: Mapping[str, type], path: str, by: str = "in a profile"
    ) -> dict[str, Any]:
        """Return the known, well-typed fields of a mapping; null counts as absent."""
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.add(path, "is not a mapping", "correct it")
            return {}
        kept = {}
        for key, item in value.items():
            if key not in fields:
                repair = f"remove it; allowed are {', '.join(fields)}"
                self.add(f"{path}.{key}", f"is not allowed {by}", repair)
            elif item is not None and not isinstance(item, fields[key]):
                self.add(f"{path}.{key}", f"is not a {_KINDS[fields[key]]}", "correct it")
            elif item is not None:
                kept[key] = item
        return kept

    def items(self, value: object, path: str, *names: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the items of a list of mappings with their paths; each must have texts under `names`."""
        kept: list[tuple[str, dict[str, Any]]] = []
        for index, item in enumerate(value if isinstance(value, list) else []):
            here = f"{path}[{index}]"
            missing = [
                name for name in names if not isinstance(item, Mapping) or not isinstance(item.get(name), str)
            ]
            if not isinstance(item, Mapping):
                self.add(here, "is not a mapping", "correct it")
            elif missing:
                self.add(here, f"has no {missing[0]}", f"add {missing[0]}")
            else:
                kept.append((here, dict(item)))
        return kept


_KINDS: Final[Mapping[type, str]] = {dict: "mapping", list: "list", str: "text"}

"""KubeRay's own schema of a RayJob."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from needed_tools import kuberay_crd


@cache
def validator() -> Draft202012Validator:
    """Return a validator that, other than the API server, refuses unknown fields instead of dropping them."""
    import yaml  # ruamel takes half a minute for these 40,000 lines

    path = kuberay_crd()
    assert path is not None, "mark the test with needs_tools"
    crd = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    [version] = [entry for entry in crd["spec"]["versions"] if entry["name"] == "v1"]
    return Draft202012Validator(_strict(version["schema"]["openAPIV3Schema"], top=True))


def _strict(schema: Any, *, top: bool = False) -> Any:
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: {name: _strict(inner) for name, inner in value.items()}
        if key == "properties"
        else _strict(value)
        for key, value in schema.items()
    }
    opened = "additionalProperties" in closed or closed.get("x-kubernetes-preserve-unknown-fields")
    if "properties" in closed and not opened:
        closed["additionalProperties"] = False
    if top:
        closed["properties"]["metadata"] = {"type": "object"}
    return closed

"""KubeRay's own schema of a RayJob, where the cache of `make e2e-up` or of Go modules holds it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FILE = "config/crd/bases/ray.io_rayjobs.yaml"
PLACES = (".cache/distillery/bin/kuberay-*", "go/pkg/mod/github.com/ray-project/kuberay/ray-operator@*")


def schema_file() -> Path | None:
    """Return the CustomResourceDefinition's file, if there is one on this machine."""
    return next((path for place in PLACES for path in sorted(Path.home().glob(f"{place}/{FILE}"))), None)


@cache
def validator(path: Path) -> Draft202012Validator:
    """Return a validator that, other than the API server, refuses unknown fields instead of dropping them."""
    import yaml  # ruamel takes half a minute for these 40,000 lines

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

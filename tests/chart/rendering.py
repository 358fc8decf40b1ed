"""Renders the chart with the real helm."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import children
from needed_tools import helm

CHART = Path(__file__).parents[2] / "charts/distillery"
Manifest = dict[str, Any]
IMAGES: Manifest = {
    "image": {"repository": "registry.example.com/distillery-operator"},
    "workerImage": "registry.example.com/distillery-worker:0.1.0",
}
"""What everyone has to set."""


needs_helm = pytest.mark.needs_tools("helm")


def template(
    values: Manifest | None = None, *, kubernetes: str = "1.34.0"
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with the values over IMAGES and return the completed process."""
    given = values or {}
    given = {**IMAGES, **given, "image": {**IMAGES["image"], **given.get("image", {})}}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        YAML().dump(given, file)
        file.flush()
        return children.run(
            [
                str(helm() or "helm"),
                *("template", "distillery", str(CHART), "--namespace", "distillery-system"),
                *("--kube-version", kubernetes, "--values", file.name),
            ],
            capture_output=True,
            text=True,
            check=False,
        )


def render(values: Manifest | None = None) -> list[Manifest]:
    """Return the rendered objects. Raises: AssertionError with helm's words if it refuses."""
    done = template(values)
    assert done.returncode == 0, done.stderr
    return [dict(document) for document in YAML(typ="safe", pure=True).load_all(done.stdout) if document]


def of_kind(objects: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind by name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}

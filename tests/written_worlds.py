"""Worlds in which an earlier release has worked: what it wrote lies under controller/written_by/<commit>/."""

from __future__ import annotations

import json
from pathlib import Path

from controller_world import World
from distillery.stages.report import Outcome

WRITTEN = Path(__file__).parent / "controller" / "written_by"
RELEASES = ("5a4633b",)
"""Commits of releases, the oldest first."""


def written_lives(*beginnings: str) -> list[str]:
    """Return the lives, as `<commit>/<life>`, whose names begin in one of these ways."""
    files = [file for release in RELEASES for file in sorted((WRITTEN / release).glob("*.json"))]
    return [f"{file.parent.name}/{file.stem}" for file in files if file.stem.startswith(beginnings)]


def world_as_written(life: str) -> World:
    """Return a world as it was left, with an operator of today that knows nothing of it yet."""
    found = json.loads((WRITTEN / f"{life}.json").read_text())
    world = World()
    world.now = found["now"]
    for item in found["objects"]:
        metadata = item["object"]["metadata"]
        key = (item["plural"], metadata.get("namespace"), metadata["name"])
        world.api.objects[key] = item["object"]
        world.api.version = max(world.api.version, int(metadata["resourceVersion"]))
    outcomes = [Outcome.model_validate(outcome) for outcome in found["store"]]
    world.kuberay.store = {outcome.identity: outcome for outcome in outcomes}
    return world

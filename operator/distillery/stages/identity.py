"""Recipe and identity: the names by which finished work is found again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distillery.artifacts.manifest import digest
from distillery.stages.stage import Stage, StageName, StageParams

SOURCES = "sources"
"""Name under which the pinned digest of the sources stands among the parents of the dataset stage."""


def recipe_of(stage: Stage, params: StageParams, rerun: str | None = None) -> str:
    """Return the recipe digest: known from the spec alone.

    `rerun` is the latched value of a rerun request for this stage; it makes the recipe a new one.
    """
    parts: dict[str, object] = {
        "stage": stage.name,
        "revision": stage.revision,
        "params": params.recipe_part(),
    }
    if rerun is not None:
        parts["rerun"] = rerun
    return digest(parts)


def identity_of(recipe: str, parents: Mapping[str, str]) -> str:
    """Return the identity digest of a recipe applied to parents given as name → output digest."""
    return digest({"recipe": recipe, "parents": dict(parents)})


def stage_identity(
    recipe: str, consumes: Sequence[StageName], outputs: Mapping[str, str], sources: str | None
) -> str | None:
    """Return the identity of a stage, or None while something it reads is not known yet.

    `outputs` maps committed stages to their output digests; `sources` is the pinned digest of the inputs, which is
    the parent of the one stage that consumes nothing.
    """
    if not consumes:
        return None if sources is None else identity_of(recipe, {SOURCES: sources})
    if any(name not in outputs for name in consumes):
        return None
    return identity_of(recipe, {name: outputs[name] for name in consumes})

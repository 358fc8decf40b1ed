"""Walk the store along a chain of recipes and collect the artifacts that already exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distillery.artifacts.artifact import find_manifest
from distillery.artifacts.manifest import Manifest
from distillery.artifacts.store import ObjectStore
from distillery.stages.identity import stage_identity
from distillery.stages.report import Outcome
from distillery.stages.stage import StageRecipe


def outcome_of(manifest: Manifest, *, reused: bool) -> Outcome:
    """Return what status and later identities need of a manifest. Reused work costs nothing."""
    outcome = Outcome.model_validate(
        {
            "stage": manifest.stage,
            "identity": manifest.identity,
            "outputDigest": manifest.output_digest,
            "summary": manifest.summary,
            "reused": reused,
            "writer": manifest.writer,
        }
    )
    return outcome if reused else outcome.model_copy(update={"cost": manifest.cost})


def walk(
    store: ObjectStore,
    recipes: Sequence[StageRecipe],
    outputs: Mapping[str, str],
    sources: str | None,
) -> list[Outcome]:
    """Return the committed artifacts from the first of `recipes` up to the first that is missing.

    `outputs` are the output digests of earlier stages, `sources` the pinned digest of the inputs.
    """
    known = dict(outputs)
    found: list[Outcome] = []
    for recipe in recipes:
        identity = stage_identity(recipe.recipe, recipe.consumes, known, sources)
        manifest = find_manifest(store, recipe.stage, identity) if identity else None
        if manifest is None:
            break
        known[recipe.stage] = manifest.output_digest
        found.append(outcome_of(manifest, reused=True))
    return found

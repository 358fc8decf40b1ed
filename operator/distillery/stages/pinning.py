"""Pins the sources of a dataset run: the digest that, with the recipe, gives the dataset's identity."""

from __future__ import annotations

from distillery.artifacts.opening import OpenSource
from distillery.stages.dataset.sources import pin_sources
from distillery.stages.dataset.spec import DatasetParams
from distillery.stages.stage import StageRun


def pin(run: StageRun, open_source: OpenSource) -> str:
    """Return the digest of what the sources of a dataset run hold now.

    Raises: SpecError if a source matches nothing or cannot be read; StageFailed, TransientError from its store.
    """
    pinned, _ = pin_sources(DatasetParams.model_validate(run.params).sources, open_source)
    return pinned

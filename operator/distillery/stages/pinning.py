"""Pins the sources of a dataset run: the digest that, with the recipe, gives the dataset's identity."""

from __future__ import annotations

from pydantic import ValidationError

from distillery.api.base import WireModel
from distillery.artifacts import layout
from distillery.artifacts.opening import OpenSource
from distillery.artifacts.store import MissingObject, ObjectStore
from distillery.errors import Conflict, StageFailed
from distillery.stages.dataset.sources import pin_sources
from distillery.stages.dataset.spec import DatasetParams
from distillery.stages.stage import StageRun

PINS_VERSION = 1


class Pins(WireModel):
    """What one object's dataset recipe was pinned to, as kept in the store."""

    version: int = PINS_VERSION
    sources: str
    """The digest."""


def pin(run: StageRun, open_source: OpenSource) -> str:
    """Return the digest of what the sources of a dataset run hold now.

    Raises: SpecError if a source matches nothing or cannot be read; StageFailed, TransientError from its store.
    """
    pinned, _ = pin_sources(DatasetParams.model_validate(run.params).sources, open_source)
    return pinned


def pin_once(run: StageRun, open_source: OpenSource, store: ObjectStore) -> str:
    """Return the digest that the first attempt of this object and recipe pinned, pinning now if there is none.

    Later attempts and restarted workers keep to it, so that a source that changes during a long job cannot change
    its inputs half-way: reading then fails (SourcesChanged), and a rerun of the stage, a new recipe, pins anew.

    Raises: as `pin`; StageFailed(PinsUnreadable) if what is kept cannot be read.
    """
    key = layout.pins(run.job_uid, run.recipe)
    kept = _kept(store, key)
    if kept is not None:
        return kept
    found = pin(run, open_source)
    try:
        store.put(key, Pins(sources=found).model_dump_json(by_alias=True).encode(), if_absent=True)
    except Conflict:
        return _kept(store, key) or found
    return found


def _kept(store: ObjectStore, key: str) -> str | None:
    try:
        data = store.get(key)
    except MissingObject:
        return None
    try:
        pins = Pins.model_validate_json(data)
    except ValidationError:
        pins = None
    if pins is None or pins.version > PINS_VERSION:
        message = f"{store.uri}/{key} cannot be read by this release → upgrade, or delete it to pin anew"
        raise StageFailed("PinsUnreadable", message)
    return pins.sources

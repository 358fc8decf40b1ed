"""Finds and removes what no manifest needs: payload of writers that lost or died, checkpoints, stray uploads.

Answers, ledgers, pins and released models are never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from distillery.artifacts import layout
from distillery.artifacts.artifact import CORRUPT, TOO_NEW, find_manifest
from distillery.artifacts.store import ObjectStat, ObjectStore
from distillery.errors import StageFailed

DAY = 86400.0
UNKNOWN = None
"""Stands for the writer that an unreadable manifest names: it could be any of them."""

Winners = Mapping[str, str | None]
"""Artifact prefix → id of the writer that its manifest names, for every artifact that has a manifest."""


def prunable(objects: Iterable[ObjectStat], winners: Winners, now: float, older_than: float) -> list[str]:
    """Return the keys that may go, sorted. Pure.

    Files go by groups (all files of a writer, all of a checkpoint folder), as old as the newest of them: a
    writer that is still uploading is young. A checkpoint of a committed stage goes at any age.

    Args:
        objects: facts about the objects to judge; keys of other kinds are left alone.
        winners: the writer that each committed artifact references.
        now: seconds since the epoch.
        older_than: age in seconds that an unreferenced group must exceed.
    """
    groups: dict[tuple[str, ...], list[ObjectStat]] = defaultdict(list)
    for found in objects:
        group = _group(found.key)
        if group is not None:
            groups[group].append(found)
    removable: list[str] = []
    for group, members in groups.items():
        old = now - max(member.modified for member in members) > older_than
        if _needless(group, old, winners):
            removable.extend(member.key for member in members)
    return sorted(removable)


def _group(key: str) -> tuple[str, ...] | None:
    if (writer := layout.writer_of(key)) is not None:
        return ("writer", *writer)
    if (checkpoint := layout.checkpoint_of(key)) is not None:
        return ("checkpoint", layout.artifact(*checkpoint))
    if key.startswith(layout.PROBES):
        return ("probe", key)
    return None


def _needless(group: tuple[str, ...], old: bool, winners: Winners) -> bool:
    match group:
        case ("writer", artifact, writer_id):
            return old and winners.get(artifact, "") not in (UNKNOWN, writer_id)
        case ("checkpoint", artifact):
            return old or winners.get(artifact, UNKNOWN) is not UNKNOWN
        case _:
            return old


def prune(
    store: ObjectStore, now: float, older_than_days: float = 7.0, *, dry_run: bool = False
) -> list[str]:
    """Remove what is not needed and return its keys, sorted; with `dry_run` only say what would go.

    Safe beside running jobs: objects are listed before manifests are read, so that a commit in between only
    saves more.

    Raises:
        StageFailed, TransientError: the store refused; what is left is found again by the next call.
    """
    older_than = older_than_days * DAY
    objects = [found for prefix in layout.PRUNED for found in store.list(prefix)]
    winners = _winners(store, objects)
    keys = prunable(objects, winners, now, older_than)
    if not dry_run:
        for key in keys:
            store.delete(key)
    return keys + list(store.sweep(now - older_than, dry_run=dry_run))


def _winners(store: ObjectStore, objects: Iterable[ObjectStat]) -> dict[str, str | None]:
    artifacts: set[tuple[str, str]] = set()
    for found in objects:
        parts = found.key.split("/")
        if parts[0] in ("artifacts", "checkpoints") and len(parts) > 3:
            artifacts.add((parts[1], parts[2]))
    winners: dict[str, str | None] = {}
    for stage, identity in artifacts:
        try:
            manifest = find_manifest(store, stage, identity)
        except StageFailed as error:
            if error.reason not in (CORRUPT, TOO_NEW):
                raise
            winners[layout.artifact(stage, identity)] = UNKNOWN
            continue
        if manifest is not None:
            winners[layout.artifact(stage, identity)] = manifest.writer
    return winners

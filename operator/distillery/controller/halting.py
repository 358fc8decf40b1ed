"""A job whose spec cannot be planned any more is still looked after: what runs is watched, and stops if it must."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import Status
from distillery.controller.apply import Applier
from distillery.controller.intake import ref_of
from distillery.controller.observe import Observer
from distillery.controller.refusal import Refused
from distillery.planning.bookkeeping import noted, removals
from distillery.planning.control import control_of
from distillery.planning.observing import is_live

CHECKPOINT_SECONDS = 120.0
"""For the last checkpoint; what the profile says is not at hand without a plan."""
LOOK_AGAIN_SECONDS = 30.0


class Halting:
    """Looks after live attempts without a plan."""

    def __init__(self, applier: Applier, observer: Observer) -> None:
        self._applier = applier
        self._observer = observer

    async def halt(self, document: dict[str, Any], status: Status, refused: Refused) -> float | None:
        """Stop what runs if somebody asks for it, or if the job is at an end until somebody edits it.

        What is stopped goes on from its checkpoint once the spec is repaired.

        Returns: seconds after which to look again, or None.
        """
        maps = await self._applier.existing_maps(ref_of(document))
        if maps is None:
            return None
        try:
            facts, _ = self._observer.facts(ref_of(document), *maps)
        except Refused:
            return None  # nothing is known without the record
        notes = noted(facts)
        facts = replace(facts, entries={**facts.entries, **notes})
        live = [entry for entry in facts.entries.values() if is_live(entry, facts)]
        reason = _reason(document, status, refused, facts.now)
        for entry in live:
            if reason is not None and not entry.control:
                notes |= self._applier.stop(entry, reason.value, refused.message, facts.now)
        await self._applier.write_record(maps[0], notes)
        gone, look = removals(replace(facts, entries={**facts.entries, **notes}), CHECKPOINT_SECONDS)
        await self._applier.remove(ref_of(document), gone)
        looks = [
            *([max(0.0, look - facts.now)] if look is not None else []),
            *([LOOK_AGAIN_SECONDS] if live else []),
        ]
        return min(looks, default=None)


def _reason(document: dict[str, Any], status: Status, refused: Refused, now: float) -> Reason | None:
    """Return why what runs has to stop, if it has to."""
    suspend = document["spec"].get("suspend") is True
    control = control_of(document["metadata"].get("annotations") or {}, suspend, status.handled, now)
    if control.cancelled:
        return Reason.CANCELLED
    if control.suspended:
        return Reason.SUSPENDED
    return refused.reason if refused.stalled else None

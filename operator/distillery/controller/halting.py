"""A job whose spec cannot be planned any more still obeys: what runs stops if somebody asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import Status
from distillery.controller.apply import Applier
from distillery.controller.intake import ref_of
from distillery.controller.observe import Observer
from distillery.planning.bookkeeping import noted, removals
from distillery.planning.control import control_of
from distillery.planning.observing import is_live

CHECKPOINT_SECONDS = 120.0
"""For the last checkpoint; what the profile says is not at hand without a plan."""


class Halting:
    """Stops live attempts without a plan."""

    def __init__(self, applier: Applier, observer: Observer) -> None:
        self._applier = applier
        self._observer = observer

    async def halt(self, document: dict[str, Any], status: Status) -> float | None:
        """Carry out a suspension or cancellation. Returns: seconds after which to look again, or None."""
        ref, metadata = ref_of(document), document["metadata"]
        suspend = document["spec"].get("suspend") is True
        control = control_of(metadata.get("annotations") or {}, suspend, status.handled)
        if not (control.suspended or control.cancelled):
            return None
        maps = await self._applier.existing_maps(ref)
        if maps is None:
            return None
        facts, _ = self._observer.facts(ref, *maps)
        notes = noted(facts)
        facts = replace(facts, entries={**facts.entries, **notes})
        reason = Reason.CANCELLED if control.cancelled else Reason.SUSPENDED
        for entry in facts.entries.values():
            if is_live(entry, facts) and not entry.control:
                notes |= self._applier.stop(entry, reason.value, "stopped on request", facts.now)
        await self._applier.write_record(maps[0], notes)
        gone, look = removals(replace(facts, entries={**facts.entries, **notes}), CHECKPOINT_SECONDS)
        await self._applier.remove(ref, gone)
        return None if look is None else max(0.0, look - facts.now)

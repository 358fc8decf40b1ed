"""A job whose spec cannot be planned any more is still looked after: what runs is watched, and stops if it must."""

from __future__ import annotations

from dataclasses import dataclass

from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import Status
from distillery.controller.apply import Applier
from distillery.controller.look import LOOK_AGAIN_SECONDS, soonest
from distillery.controller.observe import Observer
from distillery.controller.refusal import Refused
from distillery.planning.bookkeeping import noted, removals
from distillery.planning.control import Control
from distillery.planning.observing import is_live
from distillery.planning.record import JobRef


@dataclass(frozen=True, slots=True)
class Halted:
    """Which stages are still at work, if that is known, and after how many seconds to look again."""

    live: frozenset[str] | None = None
    again: float | None = None

    def shown_in(self, status: Status) -> Status:
        """Return a status in which no stage runs that does not."""
        if self.live is None:
            return status
        stages = [
            stage.model_copy(update={"state": "Stopped", "progress": None})
            if stage.state == "Running" and stage.name not in self.live
            else stage
            for stage in status.stages
        ]
        return status.model_copy(update={"stages": stages})


class Halting:
    """Looks after live attempts without a plan."""

    def __init__(self, applier: Applier, observer: Observer) -> None:
        self._applier = applier
        self._observer = observer

    async def halt(self, ref: JobRef, control: Control, refused: Refused) -> Halted:
        """Stop what runs if somebody asks for it, or if the job is at an end until somebody edits it.

        What is stopped goes on from its checkpoint once the spec is repaired.
        """
        record, reports = await self._applier.existing_maps(ref)
        if not record:
            return Halted()
        try:
            facts, _ = self._observer.facts(ref, record, reports)
        except Refused:
            return Halted()  # nothing is known without the record
        notes = noted(facts)
        facts = facts.noting(notes)
        live = [entry for entry in facts.entries.values() if is_live(entry, facts)]
        reason = _reason(control, refused)
        for entry in live:
            if reason is not None and not entry.control:
                notes |= self._applier.stop(entry, reason.value, refused.message, facts.now)
        await self._applier.write_record(record, notes)
        gone, due = removals(facts.noting(notes))
        await self._applier.remove(ref, gone)
        again = soonest([facts.until(due), LOOK_AGAIN_SECONDS if live else None])
        return Halted(frozenset(entry.stage for entry in live), again)


def _reason(control: Control, refused: Refused) -> Reason | None:
    """Return why what runs has to stop, if it has to."""
    if control.cancelled:
        return Reason.CANCELLED
    if control.suspended:
        return Reason.SUSPENDED
    return refused.reason if refused.stalled else None

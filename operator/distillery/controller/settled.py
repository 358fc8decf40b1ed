"""A generation that has come to its end is kept, and nothing of it is judged again: docs/adr/0015."""

from __future__ import annotations

from functools import partial
from typing import Any

from distillery.controller.apply import Applier
from distillery.controller.look import LOOK_AGAIN_SECONDS, Look
from distillery.controller.observe import Observer
from distillery.controller.publish import Publisher
from distillery.controller.refusal import Refused
from distillery.controller.telling import Telling
from distillery.planning.bookkeeping import noted, removals
from distillery.planning.ended import outlived, settled_status, with_conflict
from distillery.planning.observing import Facts, is_live
from distillery.planning.record import AttemptRecord


class Settled:
    """Looks after what has ended: its books are closed, leftovers go, its release stays published."""

    def __init__(self, applier: Applier, observer: Observer, publisher: Publisher, telling: Telling) -> None:
        self._applier = applier
        self._observer = observer
        self._publisher = publisher
        self._telling = telling

    async def look(self, look: Look) -> tuple[list[float | None], Exception | None] | None:
        """Do what is left to do; `look.known` says afterwards what may be told of it.

        Returns: seconds after which to look again; the first of what went wrong, which kept nothing else from being
        done. None if something is at work, so that the status is wrong: somebody else must have written it.
        """
        record, reports = await self._applier.existing_maps(look.ref)
        try:
            facts, complaints = self._observer.facts(look.ref, record, reports)
        except Refused as damaged:  # the record is not needed any more
            record = {}
            facts, complaints = self._observer.facts(look.ref, record, {})
            complaints.append(damaged.message)
        if any(is_live(entry, facts) and not entry.control for entry in facts.entries.values()):
            return None
        look.complaints += complaints
        notes = noted(facts)
        facts = facts.noting(notes)
        look.known = settled_status(look.before, look.control, facts)
        looks: list[float | None] = []
        trouble = None
        for chore in (
            partial(self._close_books, record, notes, facts),
            partial(self._keep_release, look),
            partial(self._clear_away, look, record, facts),
        ):
            try:
                looks += await chore()
            except Exception as error:  # noqa: BLE001  told by the border of the look
                trouble = trouble or error
        return looks, trouble

    async def _close_books(
        self, record: dict[str, Any], notes: dict[str, AttemptRecord], facts: Facts
    ) -> list[float | None]:
        """Note what of the last attempt is gone by now."""
        await self._applier.write_record(record, notes)
        self._telling.attempts_ended(notes.values(), facts.reports)
        return []

    async def _keep_release(self, look: Look) -> list[float | None]:
        """Publish the release again if it was lost, or if the job that was in its way is gone."""
        conflict = await self._publisher.release(look.ref, look.known)
        look.complaints += [conflict] if conflict else []
        look.known = with_conflict(look.known, conflict)
        return []

    async def _clear_away(self, look: Look, record: dict[str, Any], facts: Facts) -> list[float | None]:
        """Delete what did not end by itself, and what has been there for long enough."""
        found = [outlived(look.before, look.document["spec"], facts)]
        if record:  # without it nothing tells a leftover from what somebody wants to look into
            found.append(removals(facts))
        for gone, _ in found:
            await self._applier.remove(look.ref, gone)
        looks = [facts.until(due) for _, due in found]
        if any(entry.ended_at is None and facts.knows(key) for key, entry in facts.entries.items()):
            return [*looks, LOOK_AGAIN_SECONDS]
        self._observer.forget(look.ref.uid)  # thousands of finished jobs lie about
        return looks

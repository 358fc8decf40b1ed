"""One look at one job: understand, observe, decide, apply, tell. Level-triggered; safe to repeat at any moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, assert_never

from distillery.api.sizes import small_workers
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import Status
from distillery.controller.apply import Applier, shapes
from distillery.controller.cache import Cache
from distillery.controller.explaining import explained, reason_of
from distillery.controller.halting import Halted, Halting
from distillery.controller.intake import Intake, Subject
from distillery.controller.look import LOOK_AGAIN_SECONDS, Faults, Look, soonest
from distillery.controller.observe import Observer
from distillery.controller.publish import Publisher
from distillery.controller.refusal import Refused
from distillery.controller.settled import Settled
from distillery.controller.telling import Telling
from distillery.kube.client import Kube
from distillery.kube.resources import DISTILLATION_JOBS
from distillery.planning.bookkeeping import noted, outdated_reports, removals
from distillery.planning.decide import decide
from distillery.planning.decision import Cancel, Decision, Finish, Submit, Wait
from distillery.planning.observed import Observed, Patience
from distillery.planning.observing import Facts, observe
from distillery.planning.profile import BuiltinProfile
from distillery.planning.record import AttemptRecord
from distillery.planning.status import status_of, status_without_plan
from distillery.stages.assignment import attempt_key

log = logging.getLogger(__name__)

PAUSES = (0.0, 30.0, 120.0, 300.0)
"""After failures of an attempt in a row: together longer than a store or a teacher is usually away."""
LOOK_SOON_SECONDS = 1.0
RETRY_REFUSED_SECONDS = 60.0


class Reconciler:
    """Brings jobs forward, one look at a time. Everything it remembers may be lost."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        telling: Telling,
        builtin: BuiltinProfile,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._telling = telling
        self._intake = Intake(kube, builtin)
        self._observer = Observer(cache, clock)
        self._applier = Applier(kube)
        self._publisher = Publisher(kube)
        self._halting = Halting(self._applier, self._observer)
        self._settled = Settled(self._applier, self._observer, self._publisher, telling)
        self._faults = Faults()

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Look at a job once. Returns: seconds after which it wants to be looked at again, or None."""
        document = await self._kube.find(DISTILLATION_JOBS, name, namespace)
        if document is None or document["metadata"].get("deletionTimestamp"):
            return None  # ownerReferences clear everything away
        look = Look.at(document, self._clock())
        try:
            later = await self._settle(look) if look.has_ended else await self._go_on(look)
        except Exception as error:  # the border of a look: whatever ends it, people are told
            await self._tell_fault(look, error)
            raise
        self._faults.forget(look.ref.uid)
        return later

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a job that is gone."""
        self._observer.forget(uid)
        self._publisher.forget(uid)
        self._telling.forget(uid)
        self._faults.forget(uid)

    async def _settle(self, look: Look) -> float | None:
        """Keep a generation that has come to its end."""
        settled = await self._settled.look(look)
        if settled is None:
            return await self._go_on(look)
        looks, trouble = settled
        looks.append(await self._write(look, look.known))
        if trouble is not None:
            raise trouble
        return soonest(looks)

    async def _go_on(self, look: Look) -> float | None:
        """Bring a generation forward, or say why that is impossible."""
        try:
            subject = await self._intake.understand(look.document, look.before, look.control)
            return await self._bring_forward(look, subject)
        except Refused as refused:
            return await self._refuse(look, refused)

    async def _bring_forward(self, look: Look, subject: Subject) -> float | None:
        record, reports = await self._applier.maps(subject)
        facts, complaints = self._observer.facts(look.ref, record, reports)
        look.complaints += complaints
        notes = noted(facts)
        look.complaints += _small(subject)
        facts = facts.noting(notes)
        observed = observe(
            facts,
            subject.plan,
            look.control,
            _patience(subject),
            subject.snapshot.since,
            shapes(subject, facts),
        )
        decision = decided = decide(subject.plan, observed, facts.now)

        def status(chosen: Decision) -> Status:
            told = status_of(subject.plan, observed, chosen, look.before, facts.now)
            return told.model_copy(update={"profile": subject.snapshot.status})

        look.known = status(decision)
        looks = await self._apply(look, subject, decision, facts, record, notes)
        self._telling.attempts_ended(notes.values(), facts.reports)
        more, trouble = await self._clear_away(look, subject, facts, observed)
        if isinstance(decision, Finish):
            decision = await self._publish(look, decision)
        elif (
            trouble is not None
            and isinstance(decision, Wait)
            and self._faults.is_worth_telling(look, trouble)
        ):
            decision = replace(decision, message=f"{decision.message}; but {explained(trouble)}")
        if decision is not decided:
            look.known = status(decision)
        looks += [*more, await self._write(look, look.known)]
        if trouble is not None:
            raise trouble
        return soonest(looks)

    async def _apply(
        self,
        look: Look,
        subject: Subject,
        decision: Decision,
        facts: Facts,
        record: dict[str, Any],
        notes: dict[str, AttemptRecord],
    ) -> list[float | None]:
        """Carry the decision out. Returns: seconds after which to look again."""
        match decision:
            case Submit():
                with look.meaning(Reason.NOT_SUBMITTED, f"{decision.run.stage} cannot be started now"):
                    await self._applier.submit(subject, decision, facts, record, notes)
                return [LOOK_AGAIN_SECONDS]
            case Cancel():
                attempt = decision.attempt
                entry = facts.entries[attempt_key(attempt.stage, attempt.number)]
                stop = self._applier.stop(entry, decision.reason, decision.message, facts.now)
                await self._applier.write_record(record, {**notes, **stop})
                return [LOOK_SOON_SECONDS]
            case Wait():
                await self._applier.write_record(record, notes)
                await self._applier.mend_rights(subject, facts)
                return [facts.until(decision.until), LOOK_AGAIN_SECONDS]
            case Finish():
                await self._applier.write_record(record, notes)
                return [LOOK_SOON_SECONDS]  # as one that has ended
            case _:
                assert_never(decision)

    async def _publish(self, look: Look, end: Finish) -> Finish:
        """Publish the release. Returns: the end, which no job reaches whose release is not there."""
        with look.meaning(
            Reason.RELEASE_NOT_PUBLISHED, f"{end.message}; but the release cannot be published"
        ):
            conflict = await self._publisher.release(look.ref, look.known)
        if conflict is None:
            return end
        look.complaints.append(conflict)
        return replace(end, message=f"{end.message}; but {conflict}")

    async def _clear_away(
        self, look: Look, subject: Subject, facts: Facts, observed: Observed
    ) -> tuple[list[float | None], Exception | None]:
        """Delete what has served. Returns: when more will be due, in seconds from now; what kept it from being done."""
        gone, due = removals(facts, subject.profile.checkpoint_window_seconds)
        keys = outdated_reports(facts, subject.plan, observed)
        try:
            await self._applier.remove(look.ref, gone)
            # Lest the reports of an object that lives for long fill their ConfigMap.
            await self._applier.drop_reports(look.ref, keys)
        except Exception as error:  # noqa: BLE001  told by the border of the look: it must not hide how the job fares
            return [], error
        self._observer.drop(look.ref.uid, keys)
        return [facts.until(due)], None

    async def _refuse(self, look: Look, refused: Refused) -> float | None:
        """Tell that the object cannot be planned or rendered, and see to what runs."""
        halted, trouble, message = Halted(), None, refused.message
        try:
            halted = await self._halting.halt(look.ref, look.control, refused)
        except Exception as error:  # noqa: BLE001  told by the border of the look
            trouble = error
            if self._faults.is_worth_telling(look, error):
                message = f"{message}; and what runs cannot be seen to: {explained(error)}"
        after = status_without_plan(
            halted.shown_in(look.known),
            look.generation,
            refused.reason,
            message,
            stalled=refused.stalled,
            now=self._clock(),
        )
        looks = [await self._write(look, after), halted.again]
        if trouble is not None:
            raise trouble
        return soonest(looks if refused.stalled else [*looks, RETRY_REFUSED_SECONDS])

    async def _write(self, look: Look, after: Status) -> float | None:
        """Write the status if it says something new, then tell what has happened."""
        look.is_told = True
        later = await self._publisher.status(look.document, look.before, after, self._clock())
        await self._telling.tell(look.document, look.before, after, look.complaints)
        return later

    async def _tell_fault(self, look: Look, error: Exception) -> None:
        """Say why a look could not be finished: in the status, or by an Event if the status is not to be had."""
        if not self._faults.is_worth_telling(look, error):
            return
        if not look.is_told and not look.has_ended:
            try:
                await self._write(look, look.failed(error, self._clock()))
                return
            except Exception as unwritten:  # noqa: BLE001  the first fault is the one that the queue should see
                log.warning("the status cannot be written: %s", unwritten)
        await self._telling.warn(look.document, reason_of(error), explained(error))


def _small(subject: Subject) -> list[str]:
    return [f"{Reason.WORKERS_TOO_SMALL}: {problem}" for problem in small_workers(subject.job.spec)]


def _patience(subject: Subject) -> Patience:
    profile = subject.profile
    return Patience(profile.heartbeat_deadline_seconds, profile.pending_deadline_seconds, PAUSES)

"""One look at one job: understand, observe, decide, apply, tell. Level-triggered; safe to repeat at any moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from distillery.api.v1alpha1.conditions import ConditionType, Reason, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.controller.apply import Applier
from distillery.controller.cache import Cache
from distillery.controller.halting import Halting
from distillery.controller.intake import Intake, Subject
from distillery.controller.observe import Observer
from distillery.controller.publish import Publisher
from distillery.controller.refusal import Refused
from distillery.controller.telling import Telling
from distillery.errors import DistilleryError
from distillery.kube.client import Kube
from distillery.kube.errors import NotFound, Stale
from distillery.kube.errors import Refused as Forbidden
from distillery.kube.resources import DISTILLATION_JOBS
from distillery.planning.bookkeeping import expired, noted, outdated_reports, removals
from distillery.planning.control import parse_time
from distillery.planning.decide import decide
from distillery.planning.decision import Cancel, Decision, Finish, Submit, Wait
from distillery.planning.frontier import frontier_of
from distillery.planning.observed import Observed, Patience
from distillery.planning.observing import Facts, observe
from distillery.planning.profile import BuiltinProfile
from distillery.planning.status import status_of, status_without_plan
from distillery.stages.assignment import attempt_key

log = logging.getLogger(__name__)

PAUSES = (0.0, 30.0, 120.0, 300.0)
"""After failures of an attempt in a row: together longer than a store or a teacher is usually away."""
LOOK_AGAIN_SECONDS = 30.0
"""A job at work is looked at this often even if nothing is heard of it."""
RETRY_REFUSED_SECONDS = 60.0
PASSING_FAULTS = 3
"""So many faults of a submission in a row are more than a hiccup of the API server."""


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
        self._intake = Intake(kube, builtin, clock)
        self._observer = Observer(cache, clock)
        self._applier = Applier(kube)
        self._publisher = Publisher(kube)
        self._halting = Halting(self._applier, self._observer)
        self._faults: dict[str, int] = {}

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Look at a job once. Returns: seconds after which it wants to be looked at again, or None."""
        document = await self._kube.find(DISTILLATION_JOBS, name, namespace)
        if document is None or document["metadata"].get("deletionTimestamp"):
            return None  # ownerReferences clear everything away
        before = _status(document)
        try:
            subject = await self._intake.understand(document, before)
            return await self._bring_forward(document, before, subject)
        except Refused as refused:
            return await self._refuse(document, before, refused)

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a job that is gone."""
        self._observer.forget(uid)
        self._publisher.forget(uid)
        self._telling.forget(uid)
        self._faults.pop(uid, None)

    async def _bring_forward(
        self, document: dict[str, Any], before: Status, subject: Subject
    ) -> float | None:
        record, reports = await self._applier.maps(subject)
        facts, complaints = self._observer.facts(subject.ref, record, reports)
        notes = noted(facts)
        facts = _with(facts, notes)
        subject = _as_finished(subject, facts)
        observed = observe(facts, subject.plan, subject.control, _patience(subject), subject.snapshot.since)
        decision = decide(subject.plan, observed, facts.now)

        def status(decided: Decision) -> Status:
            told = status_of(subject.plan, observed, decided, before, facts.now)
            return told.model_copy(update={"profile": subject.snapshot.status})

        after = status(decision)
        try:
            looks = await self._apply(subject, decision, facts, record, notes)
        except Refused as refused:
            return await self._refuse(document, before, refused, after)
        except (DistilleryError, TimeoutError) as error:
            if isinstance(decision, Submit) and self._is_worth_telling(subject.ref.uid, error):
                await self._write(document, before, status(_not_submitted(decision, error)), complaints)
            raise
        self._faults.pop(subject.ref.uid, None)
        self._telling.attempts_ended(notes.values(), facts.reports)
        looks += await self._clear_away(subject, decision, facts, after)
        await self._drop_reports(subject, facts, observed)
        if isinstance(decision, Finish) and (conflict := await self._publisher.release(subject, after)):
            complaints.append(conflict)
            after = status(replace(decision, message=f"{decision.message}; but {conflict}"))
        complaints += subject.control.complaints
        looks.append(await self._write(document, before, after, complaints))
        return _soonest(looks)

    def _is_worth_telling(self, uid: str, error: Exception) -> bool:
        """Say whether people should hear of it: at once what only they can mend, else what does not pass by itself."""
        self._faults[uid] = self._faults.get(uid, 0) + (not isinstance(error, Stale))
        lasting = isinstance(error, Forbidden) or (isinstance(error, NotFound) and error.kind_missing)
        return lasting or self._faults[uid] >= PASSING_FAULTS

    async def _apply(
        self,
        subject: Subject,
        decision: Decision,
        facts: Facts,
        record: dict[str, Any],
        notes: dict[str, Any],
    ) -> list[float | None]:
        """Carry the decision out. Returns: seconds after which to look again."""
        match decision:
            case Submit():
                await self._applier.submit(subject, decision, facts, record, notes)
                return [LOOK_AGAIN_SECONDS]
            case Cancel():
                attempt = decision.attempt
                entry = facts.entries[attempt_key(attempt.stage, attempt.number)]
                stop = self._applier.stop(entry, decision.reason, decision.message, facts.now)
                await self._applier.write_record(record, {**notes, **stop})
                return [1.0]
            case Wait():
                await self._applier.write_record(record, notes)
                await self._applier.mend_rights(subject, facts)
                until = [] if decision.until is None else [max(0.0, decision.until - facts.now)]
                return [*until, LOOK_AGAIN_SECONDS]
            case Finish():
                await self._applier.write_record(record, notes)
                if any(entry.ended_at is None and facts.knows(key) for key, entry in facts.entries.items()):
                    return [LOOK_AGAIN_SECONDS]
                self._observer.forget(subject.ref.uid)  # thousands of finished jobs lie about
                return []

    async def _clear_away(
        self, subject: Subject, decision: Decision, facts: Facts, after: Status
    ) -> list[float | None]:
        """Delete what has served. Returns: when more will be due, in seconds from now."""
        gone, look = removals(facts, subject.profile.checkpoint_window_seconds)
        await self._applier.remove(subject.ref, gone)
        looks = [None if look is None else look - facts.now]
        if isinstance(decision, Finish):
            ttl = subject.job.spec.ttl_seconds_after_finished
            gone, look = expired(facts, _finished_at(after, facts.now), ttl)
            await self._applier.remove(subject.ref, gone)
            looks.append(None if look is None else look - facts.now)
        return looks

    async def _drop_reports(self, subject: Subject, facts: Facts, observed: Observed) -> None:
        """Keep the reports of an object that lives for long from filling their ConfigMap."""
        keys = outdated_reports(facts, subject.plan, observed)
        await self._applier.drop_reports(subject.ref, keys)
        self._observer.drop(subject.ref.uid, keys)

    async def _write(
        self, document: dict[str, Any], before: Status, after: Status, complaints: Sequence[str]
    ) -> float | None:
        """Write the status if it says something new, then tell what has happened."""
        later = await self._publisher.status(document, before, after, self._clock())
        await self._telling.tell(document, before, after, complaints)
        return later

    async def _refuse(
        self, document: dict[str, Any], before: Status, refused: Refused, reached: Status | None = None
    ) -> float | None:
        """Tell that the object cannot be planned or rendered. Args: `reached` is how far it has come, if known."""
        after = status_without_plan(
            reached or before,
            document["metadata"]["generation"],
            refused.reason,
            refused.message,
            stalled=refused.stalled,
            now=self._clock(),
        )
        await self._write(document, before, after, ())
        look = await self._halting.halt(document, before, refused)
        return look if refused.stalled else min(RETRY_REFUSED_SECONDS, look or RETRY_REFUSED_SECONDS)


def _status(document: dict[str, Any]) -> Status:
    """Return the status as stored; one that cannot be read is written anew from the facts."""
    try:
        return Status.model_validate(document.get("status") or {})
    except ValidationError as error:
        log.warning("the stored status cannot be read and is written anew: %s", error.errors()[0]["msg"])
        return Status()


def _with(facts: Facts, notes: dict[str, Any]) -> Facts:
    """Return the facts with the record as it will be after the notes are written."""
    return replace(facts, entries={**facts.entries, **notes})


def _not_submitted(decision: Submit, error: Exception) -> Wait:
    repair = " → install KubeRay" if isinstance(error, NotFound) and error.kind_missing else ""
    return Wait(Reason.NOT_SUBMITTED, f"{decision.run.stage} cannot be started now: {error}{repair}")


def _as_finished(subject: Subject, facts: Facts) -> Subject:
    """Let a job that was finished under another release stay so, whatever this one makes of its spec."""
    begun_as = subject.begun_as
    if begun_as is None:
        return subject
    observed = observe(facts, begun_as, subject.control, _patience(subject))
    return replace(subject, plan=begun_as) if frontier_of(begun_as, observed).run is None else subject


def _patience(subject: Subject) -> Patience:
    profile = subject.profile
    return Patience(profile.heartbeat_deadline_seconds, profile.pending_deadline_seconds, PAUSES)


def _finished_at(status: Status, now: float) -> float:
    """Return when the job came to its end."""
    ended = find_condition(status.conditions, ConditionType.RECONCILING)
    time = parse_time(ended.last_transition_time) if ended is not None else None
    return now if time is None else time


def _soonest(looks: Sequence[float | None]) -> float | None:
    return min((max(0.0, look) for look in looks if look is not None), default=None)

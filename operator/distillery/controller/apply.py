"""Steps 5 and 6: what was decided → objects in the cluster. Every write may be repeated, or met by a second writer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.controller.belongings import Belongings, is_own
from distillery.controller.intake import Subject
from distillery.controller.leftovers import Leftovers
from distillery.controller.refusal import Refused, told
from distillery.controller.rights import Rights
from distillery.errors import SpecError
from distillery.kube.client import Kube
from distillery.kube.errors import Unusable
from distillery.kube.resources import CONFIG_MAPS, RAY_JOBS
from distillery.manifests.configmap import assignment_map, record_map, reports_map
from distillery.manifests.names import attempt_name, record_name, reports_name
from distillery.manifests.rayjob import rayjob
from distillery.manifests.shape import shape_of
from distillery.manifests.sizing import gpus_in, workers_of
from distillery.planning.bookkeeping import Removal
from distillery.planning.decision import Submit
from distillery.planning.observing import Facts, silent_at_work
from distillery.planning.record import AttemptRecord, JobRef, Needs
from distillery.stages.assignment import Assignment, attempt_key
from distillery.stages.stage import StageName
from distillery.stages.versions import READERS

log = logging.getLogger(__name__)

OWN_SECTIONS = ("spec.storage", "spec.dataset", "spec.teacher", "spec.student")
"""Where mistakes of a job lie; those of a profile lie elsewhere."""


class Applier:
    """Writes a job's children."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._belongings = Belongings(kube)
        self._rights = Rights(kube)
        self._leftovers = Leftovers(kube)

    async def maps(self, subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return record and reports, made on first use together with the rights that workers need."""
        ref = subject.ref
        record = await self._belongings.find(CONFIG_MAPS, ref, record_name(ref))
        if record is None:
            await self._rights.ensure(ref, subject.profile)
            record = await self._belongings.ensure(CONFIG_MAPS, ref, record_map(ref))
        reports = await self._belongings.ensure(CONFIG_MAPS, ref, reports_map(ref))
        return record, reports

    async def existing_maps(self, ref: JobRef) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return record and reports, each empty if there is none: the job never got so far, or it was removed."""
        record = await self._kube.find(CONFIG_MAPS, record_name(ref), ref.namespace)
        reports = await self._kube.find(CONFIG_MAPS, reports_name(ref), ref.namespace)
        return _own(ref, record), _own(ref, reports)

    async def mend_rights(self, subject: Subject, facts: Facts) -> None:
        """See to the rights when a worker that should be at work is not heard: it may lack them. Raises: Refused."""
        if silent_at_work(facts):
            await self._rights.ensure(subject.ref, subject.profile)

    async def write_record(
        self, record: dict[str, Any], entries: Mapping[str, AttemptRecord]
    ) -> dict[str, Any]:
        """Write entries of the record; another writer since it was read makes this fail with Stale."""
        if not entries:
            return record
        data = {**(record.get("data") or {}), **{key: entry.dump() for key, entry in entries.items()}}
        return await self._kube.replace(CONFIG_MAPS, {**record, "data": data})

    async def drop_reports(self, ref: JobRef, keys: Sequence[str]) -> None:
        """Take reports out of the ConfigMap; a worker that writes its own meanwhile is not disturbed."""
        if keys:
            log.info("dropping %d reports that serve no more", len(keys))
            patch = {"data": dict.fromkeys(keys)}
            await self._kube.merge(CONFIG_MAPS, reports_name(ref), patch, ref.namespace)

    async def submit(
        self,
        subject: Subject,
        decision: Submit,
        facts: Facts,
        record: dict[str, Any],
        noted: Mapping[str, AttemptRecord],
    ) -> None:
        """Record the attempt, then create it.

        Raises: Refused if it cannot be rendered, or a name is taken; TransientError while something of an earlier
        attempt is there.
        """
        ref, run = subject.ref, decision.run
        key = attempt_key(run.stage, decision.attempt)
        name = attempt_name(ref, run.stage, decision.attempt, decision.identity)
        assignment = _assignment(subject, decision)
        body = _rendered(subject, name, assignment)
        await self._leftovers.confirm_none(ref, facts)
        known = facts.entries.get(key)
        entry = known or _entry(subject, decision, name, gpus_in(body), facts.now)
        made = {"needs": _needs(subject, assignment), "shape": shape(subject, run.stage)}
        entry = entry.model_copy(update=made)
        if entry != known:
            await self.write_record(record, {**noted, key: entry})
        await self._rights.ensure(ref, subject.profile)
        await self._belongings.adopt_or_create(CONFIG_MAPS, ref, assignment_map(ref, name, assignment))
        try:
            await self._belongings.adopt_or_create(RAY_JOBS, ref, body)
        except Unusable as error:
            raise Refused(
                Reason.PROFILE_VIOLATED, f"the API server refuses RayJob {name}: {error}", False
            ) from None

    def stop(self, entry: AttemptRecord, reason: str, message: str, now: float) -> dict[str, AttemptRecord]:
        """Return the record's entry that tells a worker to stop."""
        changes = {
            "control": "stop",
            "control_reason": reason,
            "control_message": message[:500],
            "control_at": now,
        }
        return {entry.key: entry.model_copy(update=changes)}

    async def remove(self, ref: JobRef, removals: list[Removal]) -> None:
        """Delete RayJobs and their assignments."""
        for removal in removals:
            log.info("deleting RayJob %s: %s", removal.name, removal.reason)
            await self._kube.delete(RAY_JOBS, removal.name, ref.namespace, uid=removal.uid)
            await self._belongings.delete_assignment(ref, removal.name)


def _own(ref: JobRef, found: dict[str, Any] | None) -> dict[str, Any]:
    return found if found is not None and is_own(ref, found) else {}


def _rendered(subject: Subject, name: str, assignment: Assignment) -> dict[str, Any]:
    try:
        return rayjob(subject.ref, name, assignment, subject.job.spec, subject.profile)
    except SpecError as error:
        ours = all(problem.path.startswith(OWN_SECTIONS) for problem in error.problems)
        reason = Reason.INVALID_SPEC if ours else Reason.PROFILE_VIOLATED
        raise Refused(reason, told(error.problems), True) from None


def _entry(subject: Subject, decision: Submit, name: str, gpus: int, now: float) -> AttemptRecord:
    run, limit = decision.run, subject.job.spec.budget.max_cost
    return AttemptRecord(
        stage=run.stage,
        attempt=decision.attempt,
        recipe=run.recipe,
        identity=decision.identity,
        generation=subject.plan.generation,
        name=name,
        started_at=now,
        storage=subject.plan.storage_uri,
        max_cost_micro=None if limit is None else int(limit * 1_000_000),
        gpus=gpus,
    )


def shapes(subject: Subject, facts: Facts) -> dict[StageName, str]:
    """Return what the pods of attempts that have not begun their work would be made from now, by stage."""
    waiting = {
        entry.stage
        for key, entry in facts.entries.items()
        if entry.shape and entry.ended_at is None and key not in facts.reports
    }
    return {stage: shape(subject, stage) for stage in waiting}


def shape(subject: Subject, stage: StageName) -> str:
    """Return what the pods of a stage are made from."""
    storage = subject.job.spec.storage
    assert storage is not None  # the intake refuses a job without one
    return shape_of(subject.job.spec, storage, subject.profile, stage)


def _needs(subject: Subject, assignment: Assignment) -> Needs | None:
    if assignment.version == 1:
        return None
    release, profile = READERS[assignment.version], subject.profile
    return Needs(version=assignment.version, release=release, image=profile.image, profile=profile.name)


def _assignment(subject: Subject, decision: Submit) -> Assignment:
    storage = subject.job.spec.storage
    assert storage is not None  # the intake refuses a job without one
    return Assignment(
        run=decision.run,
        attempt=decision.attempt,
        storage=storage,
        namespace=subject.ref.namespace,
        record=record_name(subject.ref),
        reports=reports_name(subject.ref),
        workers=workers_of(subject.job.spec, decision.run.stage),
    ).versioned()

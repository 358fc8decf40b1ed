"""Steps 5 and 6: what was decided → objects in the cluster. Every write may be repeated, or met by a second writer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.controller.intake import Subject
from distillery.controller.projection import project_cluster, project_pod, project_rayjob
from distillery.controller.refusal import Refused, told
from distillery.errors import SpecError, TransientError
from distillery.kube.client import Kube
from distillery.kube.errors import Exists, Unusable
from distillery.kube.resources import (
    CONFIG_MAPS,
    PODS,
    RAY_CLUSTERS,
    RAY_JOBS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    Resource,
)
from distillery.manifests.configmap import assignment_map, record_map, reports_map
from distillery.manifests.metadata import DIGEST_ANNOTATION, JOB_UID_LABEL
from distillery.manifests.names import attempt_name, record_name, reports_name
from distillery.manifests.rayjob import rayjob
from distillery.manifests.rbac import account_of, role, role_binding, service_account
from distillery.manifests.sizing import gpus_in, workers_of
from distillery.planning.bookkeeping import Removal
from distillery.planning.decision import Submit
from distillery.planning.observing import Facts, is_live
from distillery.planning.record import AttemptRecord, JobRef
from distillery.stages.assignment import Assignment, attempt_key

log = logging.getLogger(__name__)

OWN_SECTIONS = ("spec.storage", "spec.dataset", "spec.teacher", "spec.student")
"""Where mistakes of a job lie; those of a profile lie elsewhere."""


class Applier:
    """Writes a job's children."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def maps(self, subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return record and reports, made on first use together with the rights that workers need."""
        ref = subject.ref
        record = await self._kube.find(CONFIG_MAPS, record_name(ref), ref.namespace)
        if record is None:
            await self.ensure_rights(subject)
            record = await self._ensure(CONFIG_MAPS, record_map(ref))
        reports = await self._ensure(CONFIG_MAPS, reports_map(ref))
        return record, reports

    async def existing_maps(self, ref: JobRef) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return record and reports if the job ever got so far."""
        record = await self._kube.find(CONFIG_MAPS, record_name(ref), ref.namespace)
        reports = await self._kube.find(CONFIG_MAPS, reports_name(ref), ref.namespace)
        return None if record is None or reports is None else (record, reports)

    async def ensure_rights(self, subject: Subject) -> None:
        """Create what is missing of ServiceAccount, Role and RoleBinding."""
        ref, profile = subject.ref, subject.profile
        if profile.service_account_name is None:
            await self._ensure(SERVICE_ACCOUNTS, service_account(ref))
        await self._ensure(ROLES, role(ref))
        await self._ensure(ROLE_BINDINGS, role_binding(ref, account_of(ref, profile)))

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

        Raises: Refused if it cannot be rendered; TransientError while something of an earlier attempt is there.
        """
        ref, run = subject.ref, decision.run
        key = attempt_key(run.stage, decision.attempt)
        name = attempt_name(ref, run.stage, decision.attempt, decision.identity)
        assignment = _assignment(subject, decision)
        body = _rendered(subject, name, assignment)
        await self._confirm_absence(ref, facts)
        if key not in facts.entries:
            entry = _entry(subject, decision, name, gpus_in(body), facts.now)
            await self.write_record(record, {**noted, key: entry})
        await self.ensure_rights(subject)
        await self._adopt_or_create(CONFIG_MAPS, assignment_map(ref, name, assignment))
        try:
            await self._adopt_or_create(RAY_JOBS, body)
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
            await self._kube.delete(CONFIG_MAPS, removal.name, ref.namespace)

    async def _confirm_absence(self, ref: JobRef, facts: Facts) -> None:
        """Look past the cache: nothing of an attempt without a result may be left that could still work.

        A list costs the API server the more the more there is in the namespace, so it is asked for only then.
        """
        doubtful = [entry for key, entry in facts.entries.items() if not facts.has_result(key)]
        if not doubtful:
            return
        labels = f"{JOB_UID_LABEL}={ref.uid}"
        jobs = await self._kube.list(RAY_JOBS, ref.namespace, labels=labels)
        clusters = await self._kube.list(RAY_CLUSTERS, ref.namespace, labels=labels)
        pods = await self._kube.list(PODS, ref.namespace, labels=labels)
        seen = Facts(
            entries=facts.entries,
            reports=facts.reports,
            children=(
                *map(project_rayjob, jobs),
                *map(project_cluster, clusters),
                *map(project_pod, pods),
            ),
            heard=facts.heard,
            now=facts.now,
        )
        for entry in doubtful:
            # The record may have been too quick to say that it has ended.
            if is_live(entry.model_copy(update={"ended_at": None}), seen):
                raise TransientError(f"something of {entry.name} is still there")

    async def _ensure(self, resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
        """Return the object, created if it is missing."""
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        found = await self._kube.find(resource, name, namespace)
        if found is not None:
            return found
        try:
            return await self._kube.create(resource, body)
        except Exists:
            return await self._kube.get(resource, name, namespace)

    async def _adopt_or_create(self, resource: Resource, body: dict[str, Any]) -> None:
        """Create, or adopt what a crashed or a second operator has created under the same name.

        Raises: TransientError if it is going away or somebody else's.
        """
        metadata = body["metadata"]
        try:
            await self._kube.create(resource, body)
            return
        except Exists:
            found = await self._kube.get(resource, metadata["name"], metadata["namespace"])
        other = found["metadata"]
        if other.get("deletionTimestamp"):
            raise TransientError(f"{metadata['name']} is still being deleted")
        if (other.get("labels") or {}).get(JOB_UID_LABEL) != metadata["labels"][JOB_UID_LABEL]:
            raise TransientError(f"{metadata['name']} exists and belongs to someone else")
        digests = [(m.get("annotations") or {}).get(DIGEST_ANNOTATION) for m in (other, metadata)]
        if digests[0] != digests[1]:
            log.warning("%s was rendered from another state of the spec; it goes on", metadata["name"])


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
    )

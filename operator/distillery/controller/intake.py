"""Step 1 and 2 on the cluster: the object as stored → validated job, profile snapshot, control requests, plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distillery.api.relative import unreachable_files
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.status import Status
from distillery.api.validation import validate_job
from distillery.controller.refusal import Refused, told
from distillery.controller.snapshot import Begun, Snapshot, Snapshots
from distillery.errors import SpecError
from distillery.kube.client import Kube
from distillery.planning.control import Control, control_of
from distillery.planning.plan import Plan, build_plan
from distillery.planning.profile import BuiltinProfile, Profile, effective_storage
from distillery.planning.record import JobRef


@dataclass(frozen=True, slots=True)
class Subject:
    """A job that can be worked on.

    `plan` is what this release makes of it, `begun_as` what it began as, if another release made that.
    """

    ref: JobRef
    job: DistillationJob
    snapshot: Snapshot
    control: Control
    plan: Plan
    begun_as: Plan | None

    @property
    def profile(self) -> Profile:
        """The settings in effect."""
        return self.snapshot.profile


class Intake:
    """Turns stored objects into subjects. Keeps nothing."""

    def __init__(self, kube: Kube, builtin: BuiltinProfile, clock: Callable[[], float]) -> None:
        self._snapshots = Snapshots(kube, builtin)
        self._clock = clock

    async def understand(self, document: dict[str, Any], status: Status) -> Subject:
        """Return what the object asks for. Raises: Refused, and what the API server answers."""
        ref = ref_of(document)
        job = _validated(document)
        control = control_of(job.metadata.annotations, job.spec.suspend, status.handled, self._clock())
        recipes = build_plan(job, ref.uid, "", reruns=control.reruns).recipes
        snapshot = await self._snapshots.taken(Begun(ref, job, control, recipes), status.profile)
        storage = effective_storage(job.spec, snapshot.profile)
        if storage is None:
            repair = "write storage: {uri: s3://bucket/prefix, …}, or name a profile that has one"
            message = f"spec.storage: is required → {repair}"
            raise Refused(Reason.NO_STORAGE, message, True)
        job = job.model_copy(update={"spec": job.spec.model_copy(update={"storage": storage})})
        plan = build_plan(job, ref.uid, storage.uri, reruns=control.reruns)
        begun_as = None
        if snapshot.recipes != recipes:
            begun_as = build_plan(job, ref.uid, storage.uri, recipes=snapshot.recipes)
        return Subject(ref, job, snapshot, control, plan, begun_as)


def ref_of(document: dict[str, Any]) -> JobRef:
    """Return which object a stored document is."""
    metadata = document["metadata"]
    return JobRef(metadata["name"], metadata["namespace"], metadata["uid"])


def _validated(document: dict[str, Any]) -> DistillationJob:
    try:
        job = validate_job({key: value for key, value in document.items() if key != "status"})
    except SpecError as error:
        raise Refused(Reason.INVALID_SPEC, told(error.problems), True) from None
    unreachable = unreachable_files(document["spec"])
    if unreachable:
        raise Refused(Reason.INVALID_SPEC, told(unreachable), True)
    return job

"""Step 1 and 2 on the cluster: the object as stored → validated job, profile snapshot, control requests, plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distillery.api.relative import unreachable_files
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.status import Status
from distillery.api.validation import parse_job, validate_job
from distillery.controller.refusal import Refused, told
from distillery.controller.snapshot import Begun, Snapshot, Snapshots
from distillery.errors import Problem, SpecError
from distillery.kube.client import Kube
from distillery.planning.control import Control
from distillery.planning.plan import Plan, build_plan, recipes_of
from distillery.planning.profile import BuiltinProfile, Profile, effective_storage
from distillery.planning.record import JobRef


@dataclass(frozen=True, slots=True)
class Subject:
    """A job that can be worked on. `plan` is by the recipes with which its generation began."""

    ref: JobRef
    job: DistillationJob
    snapshot: Snapshot
    control: Control
    plan: Plan

    @property
    def profile(self) -> Profile:
        """The settings in effect."""
        return self.snapshot.profile


class Intake:
    """Turns stored objects into subjects. Keeps nothing."""

    def __init__(self, kube: Kube, builtin: BuiltinProfile) -> None:
        self._snapshots = Snapshots(kube, builtin)

    async def understand(self, document: dict[str, Any], status: Status, control: Control) -> Subject:
        """Return what the object asks for. Raises: Refused, and what the API server answers.

        What has begun was judged by the rules and the profile of that moment, and goes on by them.
        """
        ref = ref_of(document)
        job = _parsed(document)
        begun = Begun(ref, job, control)
        snapshot = await self._snapshots.kept(begun, status.profile)
        if snapshot is None:
            _judge(document)
            snapshot = await self._snapshots.taken(begun, recipes_of(job, control.reruns))
        storage = effective_storage(job.spec, snapshot.profile)
        if storage is None:
            repair = "write storage: {uri: s3://bucket/prefix, …}, or name a profile that has one"
            message = f"spec.storage: is required → {repair}"
            raise Refused(Reason.NO_STORAGE, message, True)
        job = job.model_copy(update={"spec": job.spec.model_copy(update={"storage": storage})})
        plan = build_plan(job, ref.uid, storage.uri, recipes=snapshot.recipes)
        return Subject(ref, job, snapshot, control, plan)


def ref_of(document: dict[str, Any]) -> JobRef:
    """Return which object a stored document is."""
    metadata = document["metadata"]
    return JobRef(metadata["name"], metadata["namespace"], metadata["uid"])


def _parsed(document: dict[str, Any]) -> DistillationJob:
    try:
        return parse_job(_without_status(document))
    except SpecError as error:
        problems = error.problems
    raise _refused(document, problems)


def _judge(document: dict[str, Any]) -> None:
    """Raise Refused if the object breaks a rule of this release."""
    try:
        validate_job(_without_status(document))
    except SpecError as error:
        problems: Sequence[Problem] = error.problems
    else:
        problems = unreachable_files(document["spec"])
    if problems:
        raise _refused(document, problems)


def _refused(document: dict[str, Any], problems: Sequence[Problem]) -> Refused:
    """Return the refusal of a spec, which is forgotten: it may take 35 MB, while others are refused too.

    Raised outside of the handlers, so that no traceback keeps it either.
    """
    spec = document.get("spec")
    document["spec"] = {"suspend": spec.get("suspend")} if isinstance(spec, dict) else {}
    return Refused(Reason.INVALID_SPEC, told(problems), True)


def _without_status(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "status"}

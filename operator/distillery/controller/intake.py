"""Step 1 and 2 on the cluster: the object as stored → validated job, profile snapshot, control requests, plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from distillery.api.profiles import validate_profile
from distillery.api.relative import unreachable_files
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.distillation_profile import DEFAULT_PROFILE_ANNOTATION, DistillationProfile
from distillery.api.v1alpha1.status import ProfileStatus, Status
from distillery.api.validation import validate_job
from distillery.artifacts.manifest import digest
from distillery.errors import DistilleryError, Problem, SpecError, TransientError
from distillery.kube.client import Kube
from distillery.kube.errors import Exists
from distillery.kube.resources import CONFIG_MAPS, DISTILLATION_PROFILES
from distillery.manifests.configmap import PROFILE_KEY, snapshot_map
from distillery.manifests.names import snapshot_name
from distillery.manifests.rayjob import pod_problems
from distillery.planning.control import RETRY, Control, control_of, parse_time
from distillery.planning.plan import Plan, build_plan
from distillery.planning.profile import BuiltinProfile, Profile, effective_storage, resolve, violations
from distillery.planning.record import JobRef

MAX_PROBLEMS = 8
"""Mistakes that a condition's message names; the rest follows when these are repaired."""


class Refused(DistilleryError):
    """The object cannot be planned: `reason` and `message` go into its conditions.

    `stalled` is true if only an edit of the object helps.
    """

    def __init__(self, reason: Reason, message: str, stalled: bool) -> None:
        super().__init__(reason, message, stalled)
        self.reason, self.message, self.stalled = reason, message, stalled


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The profile as one generation found it. `since` is when, in seconds since the epoch."""

    name: str
    profile: Profile
    since: float | None

    @property
    def status(self) -> ProfileStatus:
        """What the status says of it."""
        return ProfileStatus(
            name=self.profile.name, digest=digest(self.profile.to_wire()), snapshot=self.name
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """A job that can be worked on."""

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

    def __init__(self, kube: Kube, builtin: BuiltinProfile, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._builtin = builtin
        self._clock = clock

    async def understand(self, document: dict[str, Any], status: Status) -> Subject:
        """Return what the object asks for. Raises: Refused, and what the API server answers."""
        ref = ref_of(document)
        job = _validated(document)
        control = control_of(job.metadata.annotations, job.spec.suspend, status.handled, self._clock())
        snapshot = await self._profile(ref, job, control, status.profile)
        storage = effective_storage(job.spec, snapshot.profile)
        if storage is None:
            repair = "write storage: {uri: s3://bucket/prefix, …}, or name a profile that has one"
            message = f"spec.storage: is required → {repair}"
            raise Refused(Reason.NO_STORAGE, message, True)
        job = job.model_copy(update={"spec": job.spec.model_copy(update={"storage": storage})})
        plan = build_plan(job, ref.uid, storage.uri, reruns=control.reruns)
        return Subject(ref, job, snapshot, control, plan)

    async def _profile(
        self, ref: JobRef, job: DistillationJob, control: Control, vouched: ProfileStatus | None
    ) -> Snapshot:
        """Return the profile as this generation, or the last request to retry it, first met it.

        What cannot be used is not kept: when the profile is repaired, the job is judged again. Who may write
        ConfigMaps in the namespace could write one of this name, so only one that the status vouches for is believed.
        """
        name = snapshot_name(ref, job.metadata.generation, control.handled.get(RETRY, ""))
        found = await self._kube.find(CONFIG_MAPS, name, ref.namespace)
        kept = _snapshot(found)
        if kept is not None and kept.status == vouched:
            return kept
        profile = resolve(await self._named_profile(job), self._builtin)
        broken = [*violations(job.spec, profile), *pod_problems(profile)]
        if broken:
            raise Refused(Reason.PROFILE_VIOLATED, told(broken), True)
        if kept is not None and kept.profile == profile:
            return kept
        if found is not None:
            await self._kube.delete(CONFIG_MAPS, name, ref.namespace, uid=found["metadata"]["uid"])
        try:
            made = _snapshot(await self._kube.create(CONFIG_MAPS, snapshot_map(ref, name, profile)))
        except Exists:
            raise TransientError(f"ConfigMap {name} was written by somebody else") from None
        assert made is not None
        return made

    async def _named_profile(self, job: DistillationJob) -> DistillationProfile | None:
        """Return the profile that the job names, or the default one, or None."""
        name = job.spec.profile
        if name is None:
            profiles = await self._kube.list(DISTILLATION_PROFILES)
            marked = [p for p in profiles if _annotations(p).get(DEFAULT_PROFILE_ANNOTATION) == "true"]
            # As with StorageClass: of several defaults the newest counts.
            marked.sort(key=lambda p: (p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]))
            found = marked[-1] if marked else None
        else:
            found = await self._kube.find(DISTILLATION_PROFILES, name)
            if found is None:
                message = (
                    f"spec.profile: there is no DistillationProfile {name} (yet) → create it, or name another"
                )
                raise Refused(Reason.PROFILE_MISSING, message, False)
        if found is None:
            return None
        try:
            return validate_profile(found)
        except SpecError as error:
            message = f"DistillationProfile {found['metadata']['name']} is wrong: {told(error.problems)}"
            raise Refused(Reason.PROFILE_MISSING, message, False) from None


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


def _snapshot(found: dict[str, Any] | None) -> Snapshot | None:
    """Read a snapshot; None if there is none, or it is not ours."""
    if found is None:
        return None
    try:
        profile = Profile.model_validate_json((found.get("data") or {}).get(PROFILE_KEY, ""))
    except ValidationError:
        return None
    metadata = found["metadata"]
    return Snapshot(metadata["name"], profile, parse_time(metadata.get("creationTimestamp") or ""))


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    return document["metadata"].get("annotations") or {}


def told(problems: Sequence[Problem]) -> str:
    """Return problems as one line of a condition."""
    lines = [str(problem) for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"and {len(problems) - MAX_PROBLEMS} more")
    return "; ".join(lines)

"""What a generation of a job began with: the profile in effect and its recipes, kept in a ConfigMap of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from distillery.api.profiles import validate_profile
from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.distillation_profile import DEFAULT_PROFILE_ANNOTATION, DistillationProfile
from distillery.api.v1alpha1.status import ProfileStatus
from distillery.controller.belongings import Belongings
from distillery.controller.refusal import Refused, told
from distillery.errors import SpecError, TransientError
from distillery.kube.client import Kube
from distillery.kube.errors import Exists
from distillery.kube.resources import CONFIG_MAPS, DISTILLATION_PROFILES
from distillery.manifests.configmap import PROFILE_KEY, RECIPES_KEY, snapshot_map
from distillery.manifests.names import snapshot_name
from distillery.manifests.rayjob import pod_problems
from distillery.planning.control import RETRY, Control, parse_time
from distillery.planning.profile import BuiltinProfile, Profile, resolve, violations
from distillery.planning.record import JobRef

RECIPES = TypeAdapter(dict[str, str])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one generation began with: profile and recipes.

    `digest` is that of the profile's stored text: another release may read other settings out of the same text.
    `since` is when it was taken, in seconds since the epoch.
    """

    name: str
    profile: Profile
    recipes: Mapping[str, str]
    digest: str
    since: float | None

    @property
    def status(self) -> ProfileStatus:
        """What the status says of it."""
        return ProfileStatus(name=self.profile.name, digest=self.digest, snapshot=self.name)


@dataclass(frozen=True, slots=True)
class Begun:
    """What a snapshot is taken for."""

    ref: JobRef
    job: DistillationJob
    control: Control

    @property
    def name(self) -> str:
        """Name of the ConfigMap."""
        retry = self.control.handled.get(RETRY)
        requests = [*([retry] if retry else []), *self.control.reruns.values()]
        return snapshot_name(self.ref, self.job.metadata.generation, requests)


class Snapshots:
    """Takes and reads snapshots. Keeps nothing."""

    def __init__(self, kube: Kube, builtin: BuiltinProfile) -> None:
        self._kube = kube
        self._belongings = Belongings(kube)
        self._builtin = builtin

    async def kept(self, begun: Begun, vouched: ProfileStatus | None) -> Snapshot | None:
        """Return what this generation, or the last request to do something anew, has begun with, if it has begun.

        Who may write ConfigMaps in the namespace could write one of this name, so only one that the status vouches for
        is believed.
        """
        if vouched is None or vouched.snapshot != begun.name:
            return None
        kept = _read(await self._find(begun))
        return kept if kept is not None and kept.status == vouched else None

    async def taken(self, begun: Begun, recipes: Mapping[str, str]) -> Snapshot:
        """Return the profile and the recipes of now, kept from now on.

        What cannot be used is not kept: when the profile is repaired, the job is judged again.

        Raises: Refused, also if its name is taken; what the API server answers.
        """
        ref, name = begun.ref, begun.name
        profile = resolve(await self._named_profile(begun.job), self._builtin)
        broken = [*violations(begun.job.spec, profile), *pod_problems(profile)]
        if broken:
            raise Refused(Reason.PROFILE_VIOLATED, told(broken), True)
        found = await self._find(begun)
        if found is not None:
            kept = _read(found)
            if kept is not None and kept.profile == profile:
                return kept  # the status that would vouch for it was not written
            await self._kube.delete(CONFIG_MAPS, name, ref.namespace, uid=found["metadata"]["uid"])
        body = snapshot_map(ref, name, profile, recipes)
        try:
            made = _read(await self._kube.create(CONFIG_MAPS, body))
        except Exists:
            raise TransientError(f"ConfigMap {name} was written by somebody else") from None
        assert made is not None
        return made

    async def _find(self, begun: Begun) -> dict[str, Any] | None:
        return await self._belongings.find(CONFIG_MAPS, begun.ref, begun.name)

    async def _named_profile(self, job: DistillationJob) -> DistillationProfile | None:
        """Return the profile that the job names, or the default one, or None."""
        name = job.spec.profile or await self._default_profile()
        if name is None:
            return None
        found = await self._kube.find(DISTILLATION_PROFILES, name)
        if found is None and job.spec.profile is None:
            raise TransientError(f"DistillationProfile {name} was the default and is gone")
        if found is None:
            message = (
                f"spec.profile: there is no DistillationProfile {name} (yet) → create it, or name another"
            )
            raise Refused(Reason.PROFILE_MISSING, message, False)
        try:
            return validate_profile(found)
        except SpecError as error:
            message = f"DistillationProfile {name} is wrong: {told(error.problems)}"
        # Outside of the handler, so that no traceback keeps the profile, which may take 35 MB.
        raise Refused(Reason.PROFILE_MISSING, message, False)

    async def _default_profile(self) -> str | None:
        """Return the name of the default profile. Only metadata is asked for: there may be hundreds of 1 MB."""
        pages = self._kube.scan(DISTILLATION_PROFILES, view=_marked, metadata_only=True)
        marked = [found async for page in pages for found in page if found is not None]
        # As with StorageClass: of several defaults the newest counts.
        return max(marked)[1] if marked else None


def _read(found: dict[str, Any] | None) -> Snapshot | None:
    """Read a snapshot; None if there is none, or none that this release can read."""
    if found is None:
        return None
    data, metadata = found.get("data") or {}, found["metadata"]
    text = data.get(PROFILE_KEY, "")
    try:
        profile = Profile.model_validate_json(text)
        recipes = RECIPES.validate_json(data.get(RECIPES_KEY, ""))
    except ValidationError:
        return None
    digest = hashlib.sha256(text.encode()).hexdigest()
    since = parse_time(metadata.get("creationTimestamp") or "")
    return Snapshot(metadata["name"], profile, recipes, digest, since)


def _marked(document: dict[str, Any]) -> tuple[str, str] | None:
    """Return when a profile was created, and its name, if it is marked as the default."""
    metadata = document["metadata"]
    if (metadata.get("annotations") or {}).get(DEFAULT_PROFILE_ANNOTATION) != "true":
        return None
    return metadata.get("creationTimestamp") or "", metadata["name"]

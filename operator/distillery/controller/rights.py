"""ServiceAccount, Role and RoleBinding of a job: created, and mended where they differ from what its workers need."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.controller.belongings import Belongings
from distillery.controller.refusal import Refused
from distillery.kube.client import Kube
from distillery.kube.errors import Forbidden
from distillery.kube.resources import ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS, Resource
from distillery.manifests.rbac import account_of, role, role_binding, service_account
from distillery.planning.profile import Profile
from distillery.planning.record import JobRef

log = logging.getLogger(__name__)


class Rights:
    """Writes what lets a job's workers read the record and write their reports."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._belongings = Belongings(kube)

    async def ensure(self, ref: JobRef, profile: Profile) -> None:
        """Create what is missing and mend what differs.

        Raises: Refused if a name is taken, or if the operator may not mend.
        """
        if profile.service_account_name is None:
            await self._same(SERVICE_ACCOUNTS, ref, service_account(ref), "automountServiceAccountToken")
        await self._same(ROLES, ref, role(ref), "rules")
        binding = role_binding(ref, account_of(ref, profile))
        found = await self._same(ROLE_BINDINGS, ref, binding, "subjects")
        if found.get("roleRef") != binding["roleRef"]:  # which cannot be changed
            await self._mend(ROLE_BINDINGS, ref, binding, lambda: self._again(binding, found))

    async def _same(
        self, resource: Resource, ref: JobRef, body: dict[str, Any], field: str
    ) -> dict[str, Any]:
        """Return the object as it is once a field of it is as it should be; other fields may be somebody's."""
        found = await self._belongings.ensure(resource, ref, body)
        if found.get(field) == body[field]:
            return found
        mended = {**found, field: body[field]}
        return await self._mend(resource, ref, body, lambda: self._kube.replace(resource, mended))

    async def _mend(
        self,
        resource: Resource,
        ref: JobRef,
        body: dict[str, Any],
        write: Callable[[], Awaitable[dict[str, Any]]],
    ) -> dict[str, Any]:
        name = body["metadata"]["name"]
        log.warning("mending %s %s: it differs from what %s needs", resource.kind, name, ref.name)
        try:
            return await write()
        except Forbidden as error:
            wrong = f"{resource.kind} {name} differs from what the job's workers need, and cannot be mended: {error}"
            repair = "upgrade the chart, which gives the operator the right, or delete the object"
            raise Refused(Reason.RIGHTS_DIFFER, f"{wrong} → {repair}", False) from None

    async def _again(self, body: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        metadata = found["metadata"]
        await self._kube.delete(ROLE_BINDINGS, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        return await self._kube.create(ROLE_BINDINGS, body)

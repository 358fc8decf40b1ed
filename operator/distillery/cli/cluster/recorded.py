"""The attempts of a job as the operator has recorded them, where one may read the record."""

from __future__ import annotations

from distillery.cli.cluster.access import Access
from distillery.controller.intake import ref_of
from distillery.controller.projection import project_object
from distillery.kube.client import Object
from distillery.kube.errors import Forbidden
from distillery.kube.resources import CONFIG_MAPS
from distillery.manifests.names import record_name
from distillery.planning.ownership import owned_by
from distillery.planning.record import AttemptRecord, parse_record


async def recorded_attempts(access: Access, job: Object) -> tuple[list[AttemptRecord], str]:
    """Return the attempts in the record, oldest first, and why they cannot be shown."""
    ref = ref_of(job)
    try:
        record = await access.kube.find(CONFIG_MAPS, record_name(ref), access.namespace)
    except Forbidden:
        return [], f"you may not get ConfigMaps in namespace {access.namespace}"
    if record is not None and not owned_by(ref, project_object(record)):
        return [], f"ConfigMap {record_name(ref)} is not the operator's"
    try:
        entries = parse_record((record or {}).get("data") or {})
    except ValueError as error:
        return [], str(error)
    return sorted(entries.values(), key=lambda entry: entry.started_at), ""

"""The attempts of a job as the operator has recorded them, where one may read the record."""

from __future__ import annotations

from distillery.cli.cluster.access import Access
from distillery.kube.client import Object
from distillery.kube.errors import Refused
from distillery.kube.resources import CONFIG_MAPS
from distillery.manifests.names import record_name
from distillery.planning.record import AttemptRecord, JobRef, parse_record


async def recorded_attempts(access: Access, job: Object) -> tuple[list[AttemptRecord], str]:
    """Return the attempts in the record, oldest first, and why they cannot be shown."""
    metadata = job["metadata"]
    ref = JobRef(metadata["name"], metadata["namespace"], metadata["uid"])
    try:
        record = await access.kube.find(CONFIG_MAPS, record_name(ref), access.namespace)
    except Refused:
        return [], f"you may not get ConfigMaps in namespace {access.namespace}"
    try:
        entries = parse_record((record or {}).get("data") or {})
    except ValueError as error:
        return [], str(error)
    return sorted(entries.values(), key=lambda entry: entry.started_at), ""

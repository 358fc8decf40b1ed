"""One attempt's entry in the reports ConfigMap, and the operator's word for it in the record.

Only workers write the reports, and a job has one at a time, so the resourceVersion of the last write is nearly
always still true: a report costs one PATCH. A refused precondition means that another process has written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import ValidationError

from distillery.api.v1alpha1.conditions import Reason
from distillery.errors import DistilleryError, TransientError
from distillery.kube.errors import Stale
from distillery.kube.resources import CONFIG_MAPS, Resource
from distillery.planning.record import AttemptRecord
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure, Report
from distillery.worker.shrinking import report_text

log = logging.getLogger(__name__)

MAX_INCARNATIONS = 3
RACES = 10
"""Lost preconditions in a row before a write gives up for now."""
TOO_OFTEN = Failure(
    failure_class="infrastructure",
    reason=Reason.RESTARTED_TOO_OFTEN,
    message=f"the process of this attempt was started more than {MAX_INCARNATIONS} times: its pod keeps failing",
)


class ConfigMaps(Protocol):
    """The part of kube.client.Kube that is used here, and all that a worker has the right to."""

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> dict[str, Any]:
        """Return an object."""
        ...

    async def merge(
        self, resource: Resource, name: str, patch: dict[str, Any], namespace: str | None = None
    ) -> dict[str, Any]:
        """Apply a JSON merge patch."""
        ...


class Superseded(DistilleryError):
    """A later process works on the same attempt: this one must end and write nothing more."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a starting process found. `ended` is the final report of an earlier process of the same attempt."""

    incarnation: int
    ended: Report | None = None


class Mailbox:
    """Reads and writes for one process; (incarnation, sequence) grows with every report that it writes."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._version: str | None = None
        self._text: str | None = None
        """What the entry held when it was last read or written."""
        self._claims: set[str] = set()
        """Claims that were sent. Another process's differs at least in its time of writing."""
        self.incarnation = 0
        self._sequence = 0

    async def claim(self, kube: ConfigMaps, first: Report) -> Claim:
        """Make this process the attempt's: its incarnation is one higher than that of any before it.

        After too many processes the report says failed (TOO_OFTEN). Where the attempt has ended already nothing is
        written. Call it again if it raises. Raises: the errors of kube/errors.py.
        """
        for _ in range(RACES):
            if self._version is None:
                await self._read(kube)
            earlier = None if self._text is None else _parse(self._text)
            if self._text in self._claims:
                # Our own writing, its answer lost on the way.
                assert earlier is not None
                self.incarnation = earlier.incarnation
            elif earlier is not None and earlier.state != "running":
                return Claim(earlier.incarnation, earlier)
            else:
                # An entry that cannot be read tells of one process, whatever became of its words.
                started = 0 if self._text is None else earlier.incarnation if earlier is not None else 1
                self.incarnation = started + 1
                if not await self._patch(kube, self._first_text(first)):
                    continue
            return Claim(self.incarnation, self._refused(first))
        raise TransientError("the reports keep changing")

    async def write(self, kube: ConfigMaps, report: Report) -> None:
        """Write a report. Raises: Superseded; the errors of kube/errors.py, after which it may have been written."""
        self._sequence += 1
        text = report_text(
            report.model_copy(update={"incarnation": self.incarnation, "sequence": self._sequence})
        )
        for _ in range(RACES):
            if self._version is None:
                await self._read(kube)
                self._check()
            if await self._patch(kube, text):
                return
        raise TransientError("the reports keep changing")

    async def stop_wanted(self, kube: ConfigMaps) -> bool:
        """Say whether the operator wants this attempt to stop. Raises: the errors of kube/errors.py."""
        body = await kube.get(CONFIG_MAPS, self._assignment.record, self._assignment.namespace)
        text = (body.get("data") or {}).get(self._assignment.key)
        if text is None:
            return False
        try:
            return AttemptRecord.model_validate_json(text).control == "stop"
        except ValidationError:
            log.warning("the record of %s cannot be read and is ignored", self._assignment.key)
            return False

    def _refused(self, first: Report) -> Report | None:
        if self.incarnation <= MAX_INCARNATIONS:
            return None
        return first.model_copy(update={"state": "failed", "failure": TOO_OFTEN})

    def _first_text(self, first: Report) -> str:
        self._sequence = 1
        report = self._refused(first) or first
        text = report_text(
            report.model_copy(update={"incarnation": self.incarnation, "sequence": self._sequence})
        )
        self._claims.add(text)
        return text

    def _check(self) -> None:
        """Raise: Superseded if a later process has written."""
        held = None if self._text is None else _parse(self._text)
        if held is not None and held.incarnation > self.incarnation:
            message = f"process {held.incarnation} has taken over from process {self.incarnation}"
            raise Superseded(message)
        if held is None:
            log.warning("the report of %s was removed or spoilt and is written again", self._assignment.key)

    async def _read(self, kube: ConfigMaps) -> None:
        body = await kube.get(CONFIG_MAPS, self._assignment.reports, self._assignment.namespace)
        self._version = str(body["metadata"]["resourceVersion"])
        self._text = (body.get("data") or {}).get(self._assignment.key)

    async def _patch(self, kube: ConfigMaps, text: str) -> bool:
        """Write the entry; return False if the ConfigMap has changed since it was read."""
        patch = {"metadata": {"resourceVersion": self._version}, "data": {self._assignment.key: text}}
        try:
            body = await kube.merge(CONFIG_MAPS, self._assignment.reports, patch, self._assignment.namespace)
        except Stale:  # also after a write of ours whose answer was lost
            self._version = None
            return False
        self._version, self._text = str(body["metadata"]["resourceVersion"]), text
        return True


def _parse(text: str) -> Report | None:
    try:
        return Report.model_validate_json(text)
    except ValidationError:
        return None

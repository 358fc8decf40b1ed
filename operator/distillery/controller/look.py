"""One look at one job under way: what is known by now, and what it would mean if it failed now."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from distillery.api.v1alpha1.conditions import Reason
from distillery.api.v1alpha1.status import Status
from distillery.controller.explaining import explained, is_lasting, reason_of
from distillery.controller.intake import ref_of
from distillery.kube.errors import Stale
from distillery.planning.control import Control, control_of
from distillery.planning.ended import has_ended
from distillery.planning.record import JobRef
from distillery.planning.status import status_without_plan

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 30.0
"""A job at work is looked at this often even if nothing is heard of it, and so is one of which something is left."""
PASSING_FAULTS = 3
"""So many faults in a row are more than a hiccup of the API server."""


@dataclass(slots=True)
class Look:
    """What a look has found out.

    `known` is the status as far as it is known, `is_told` whether it was tried to write it, `is_counted` whether a
    fault was met, `purpose` what cannot be done if what is being done now fails: the reason and how the message begins.
    """

    document: dict[str, Any]
    before: Status
    control: Control
    known: Status
    complaints: list[str] = field(default_factory=list)
    is_told: bool = False
    is_counted: bool = False
    purpose: tuple[Reason, str] | None = None

    @classmethod
    def at(cls, document: dict[str, Any], now: float) -> Look:
        """Begin with the object as stored. Requests that are new are known from here on, whatever fails."""
        before = _status(document)
        spec = document.get("spec")
        is_suspended = isinstance(spec, dict) and spec.get("suspend") is True
        control = control_of(_annotations(document), is_suspended, before.handled, now)
        known = before.model_copy(update={"handled": dict(control.handled)})
        return cls(document, before, control, known, list(control.complaints))

    @property
    def ref(self) -> JobRef:
        """Which job."""
        return ref_of(self.document)

    @property
    def generation(self) -> int:
        """Generation of the object."""
        generation = self.document["metadata"].get("generation")
        return generation if isinstance(generation, int) else 0

    @property
    def has_ended(self) -> bool:
        """Say whether this generation was over before this look, and nothing was asked for since."""
        return has_ended(self.before, self.generation, self.control)

    @contextmanager
    def meaning(self, reason: Reason, message: str) -> Iterator[None]:
        """Say what cannot be done if something fails in here."""
        self.purpose = (reason, message)
        yield
        self.purpose = None

    def failed(self, error: Exception, now: float) -> Status:
        """Return the status that says what holds the job up."""
        reason, message = reason_of(error), explained(error)
        if self.purpose is not None and reason != Reason.INTERNAL_ERROR:
            reason, message = self.purpose[0], f"{self.purpose[1]}: {message}"
        return status_without_plan(self.known, self.generation, reason, message, stalled=False, now=now)


class Faults:
    """Counts the looks at each job that failed in a row."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def forget(self, uid: str) -> None:
        """A look has succeeded, or the job is gone."""
        self._counts.pop(uid, None)

    def is_worth_telling(self, look: Look, error: Exception) -> bool:
        """Count a fault, and say whether people should hear of it.

        At once of what only they can mend, and if a request would be lost with its annotation; else of what does not
        pass by itself.
        """
        if isinstance(error, Stale):
            return False  # somebody else has written: the next look reads it
        uid = look.ref.uid
        self._counts[uid] = self._counts.get(uid, 0) + (not look.is_counted)
        look.is_counted = True
        is_asked = look.control.handled != look.before.handled
        return is_lasting(error) or is_asked or self._counts[uid] >= PASSING_FAULTS


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    """Return the annotations, as far as they are such."""
    found = document["metadata"].get("annotations")
    known = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in known if isinstance(value, str)}


def soonest(looks: Iterable[float | None]) -> float | None:
    """Return the least number of seconds after which to look again, or None if there is no need to."""
    return min((look for look in looks if look is not None), default=None)


def _status(document: dict[str, Any]) -> Status:
    """Return the status as stored, without what cannot be read of it: another release may know more of a field.

    The rest holds: that a generation has ended, and what was asked for though its annotation is gone.
    """
    stored = document.get("status") or {}
    for depth in (2, 1):
        try:
            return Status.model_validate(stored)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            log.warning(
                "the stored status cannot be read as a whole: %s: %s", found[0]["loc"], found[0]["msg"]
            )
            stored = _without(stored, [problem["loc"][:depth] for problem in found])
    try:
        return Status.model_validate(stored)
    except ValidationError:
        return Status()  # not even a mapping


def _without(value: Any, paths: Collection[tuple[int | str, ...]]) -> Any:
    """Return a copy of a structure that lacks what lies at some paths."""
    if isinstance(value, Mapping):
        items = [(key, item) for key, item in value.items() if (key,) not in paths]
        return {key: _without(item, _inside(key, paths)) for key, item in items}
    if isinstance(value, list):
        return [_without(v, _inside(i, paths)) for i, v in enumerate(value) if (i,) not in paths]
    return value


def _inside(key: int | str, paths: Collection[tuple[int | str, ...]]) -> list[tuple[int | str, ...]]:
    return [path[1:] for path in paths if len(path) > 1 and path[0] == key]

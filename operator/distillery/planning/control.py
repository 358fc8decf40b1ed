"""Control requests: annotations and `spec.suspend` → what is wanted now. Pure.

A request is an annotation whose value is a time. Each is latched in `status.handled`, so that it holds even if the
annotation disappears, and an older value that comes back (a restored manifest) changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from distillery.api.v1alpha1.common import GROUP
from distillery.stages.stage import STAGE_NAMES, StageName

SUSPEND, RESUME, CANCEL, RETRY = (f"{verb}-requested-at" for verb in ("suspend", "resume", "cancel", "retry"))
RERUN = "rerun-requested-at"
APPROVE = "approve-review"
GO_ON = (RETRY, RERUN, APPROVE)
"""Requests of which the operator also latches when, by its own clock, it first met them."""
MAX_VALUE = 64
"""Characters of a request's value: a time may be followed by a stage, and any number of digits is a fraction."""
EARLY_SECONDS = 60.0
"""Clocks may differ by so much; a request from further ahead waits for its time, lest it forgive what is to come."""


def annotation(request: str) -> str:
    """Return the annotation key of a request."""
    return f"{GROUP}/{request}"


@dataclass(frozen=True, slots=True)
class Control:
    """What people have asked for. Times are in seconds since the epoch.

    `reruns` holds the latched request per stage, `approved` the filter identity whose review was approved,
    `restarted_at` the last request to go on, from which deadlines count; `handled` is what the status must latch.
    """

    suspended: bool = False
    cancelled: bool = False
    forgiven_before: float = 0.0
    restarted_at: float = 0.0
    reruns: Mapping[StageName, str] = field(default_factory=dict)
    approved: str | None = None
    handled: Mapping[str, str] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()


def control_of(
    annotations: Mapping[str, str], suspend: bool, handled: Mapping[str, str], now: float
) -> Control:
    """Merge the annotations with what the status has latched.

    Args:
        annotations: of the object.
        suspend: `spec.suspend`, which wins over every annotation.
        handled: `status.handled`.
        now: the operator's clock, in seconds since the epoch.
    """
    latched = dict(handled)
    complaints = []
    for request in (SUSPEND, RESUME, CANCEL, RETRY, RERUN):
        value = annotations.get(annotation(request))
        if value is None:
            continue
        key, when = _read(request, value)
        if when is None:
            complaints.append(_complaint(request, value))
        elif when > now + EARLY_SECONDS:
            complaints.append(
                f"annotation {annotation(request)}: {value[:80]} is still to come → write the present time"
            )
        elif when > _time(latched.get(key)):
            latched[key] = value
            if request in GO_ON:
                latched[seen_key(request)] = timestamp(now)
    approval = annotations.get(annotation(APPROVE), "")[:256]
    if approval and approval != latched.get(APPROVE):
        latched |= {APPROVE: approval, seen_key(APPROVE): timestamp(now)}
    resumed, retried = _time(latched.get(RESUME)), _time(latched.get(RETRY))
    seen = {request: _time(latched.get(seen_key(request))) for request in GO_ON}
    return Control(
        suspended=suspend or _time(latched.get(SUSPEND)) > resumed,
        cancelled=_time(latched.get(CANCEL)) > retried,
        forgiven_before=max(retried, seen[RETRY], seen[RERUN]),
        restarted_at=max(resumed, retried, *seen.values()),
        reruns={name: latched[key] for name in STAGE_NAMES if (key := f"{RERUN}/{name}") in latched},
        approved=latched.get(APPROVE),
        handled=latched,
        complaints=tuple(complaints),
    )


def seen_key(request: str) -> str:
    """Return the key under which it is latched when a request was first met."""
    return f"{request.removesuffix('-requested-at')}-seen-at"


def parse_time(text: str) -> float | None:
    """Return seconds since the epoch of an RFC 3339 time with its offset, or None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


def timestamp(seconds: float) -> str:
    """Return RFC 3339 in UTC with whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(request: str, value: str) -> tuple[str, float | None]:
    """Return the key under which a request is latched, and its time or None if the value is malformed."""
    if len(value) > MAX_VALUE:
        return request, None
    if request != RERUN:
        return request, parse_time(value)
    time, _, stage = value.partition("/")
    return f"{RERUN}/{stage}", parse_time(time) if stage in STAGE_NAMES else None


def _time(value: str | None) -> float:
    """Return the time of a latched value; a missing or unreadable one is older than any request."""
    if value is None:
        return 0.0
    return parse_time(value.partition("/")[0]) or 0.0


def _complaint(request: str, value: str) -> str:
    wanted = "2026-11-03T12:30:00Z"
    if request == RERUN:
        wanted += "/" + cast(str, STAGE_NAMES[3])
    return (
        f"annotation {annotation(request)}: {value[:80]!r} is not understood → write a time such as {wanted}"
    )

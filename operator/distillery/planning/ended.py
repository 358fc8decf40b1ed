"""A generation that has come to its end: how it is known, and what may still change in its status. Pure.

The end is read from the status, as every controller reads that of a batch/v1 Job: a later release has other rules,
plans and profiles, and would judge what is over anew if it looked at the spec (docs/adr/0015).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery.api.v1alpha1.conditions import ConditionType, Reason, find_condition
from distillery.api.v1alpha1.status import Status
from distillery.planning.bookkeeping import Removal, expired
from distillery.planning.control import RERUN, RETRY, Control, parse_time
from distillery.planning.observing import Facts, gpu_seconds, spent_micro
from distillery.planning.status import money

JUDGED_ANEW = frozenset({Reason.INVALID_SPEC, Reason.PROFILE_VIOLATED, Reason.NO_STORAGE})
"""Refusals: nothing was finished, and another release or another profile may well accept the object."""
CONFLICT = f"; but {Reason.RELEASE_CONFLICT}: "
"""Where in the message of a good end a conflict over the release's name begins."""


def has_ended(status: Status, generation: int, control: Control) -> bool:
    """Say whether a generation has come to its end, and nobody has asked since to do anything anew."""
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    over = found is not None and found.status == "False" and found.reason not in JUDGED_ANEW
    return over and status.observed_generation == generation and not _asks_for_more(control, status.handled)


def _asks_for_more(control: Control, handled: Mapping[str, str]) -> bool:
    return any(
        key.startswith((RETRY, RERUN)) and handled.get(key) != value for key, value in control.handled.items()
    )


def settled_status(status: Status, control: Control, facts: Facts) -> Status:
    """Return the status of an ended generation, with what is still counted. What was counted once stays."""
    cost = status.cost
    spent = money(spent_micro(facts.reports))
    seconds = sum(gpu_seconds(entry, facts.now) for entry in facts.entries.values())
    hours = round(seconds / 3600, 4)
    return status.model_copy(
        update={
            "handled": dict(control.handled),
            "cost": cost.model_copy(
                update={
                    "spent": spent if spent > (cost.spent or 0) else cost.spent,
                    "gpu_hours": hours if hours > (cost.gpu_hours or 0) else cost.gpu_hours,
                }
            ),
        }
    )


def with_conflict(status: Status, conflict: str | None) -> Status:
    """Return the status of a good end with what is wrong with its release now, and without what was wrong before."""

    def told(message: str) -> str:
        end = message.partition(CONFLICT)[0]
        return f"{end}; but {conflict}" if conflict else end

    return status.model_copy(
        update={
            "conditions": [c.model_copy(update={"message": told(c.message)}) for c in status.conditions],
            "progress": status.progress.model_copy(update={"message": told(status.progress.message)}),
        }
    )


def outlived(status: Status, spec: Mapping[str, Any], facts: Facts) -> tuple[list[Removal], float | None]:
    """Return what `ttlSecondsAfterFinished` removes, and when to look again. The rest of the spec is not judged."""
    ttl = spec.get("ttlSecondsAfterFinished")
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        return [], None
    found = find_condition(status.conditions, ConditionType.RECONCILING)
    finished_at = parse_time(found.last_transition_time) if found is not None else None
    return expired(facts, facts.now if finished_at is None else finished_at, ttl)

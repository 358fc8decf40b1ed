"""Every CEL rule by its place: `Model`, `Model.field`, or `Model.field[]` for the items of a list. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from distillery.api.cel.rule import Cel
from distillery.api.cel.sections import DATASET, FILTER, PLACES, STUDENT, TASK, TEACHER
from distillery.api.cel.spec import SPEC

JOB_RULES: Mapping[str, list[Cel]] = {
    "DistillationJobSpec": SPEC,
    **PLACES,
    **TASK,
    **DATASET,
    **TEACHER,
    **FILTER,
    **STUDENT,
}
PROFILE_RULES: Mapping[str, list[Cel]] = {
    "Storage": PLACES["Storage"],
    "ProfileSpec": [
        Cel(
            f"!has(self.{field}) || duration(self.{field}) >= duration('20s')",
            "is too short: every attempt would be given up",
            "write at least 20s",
            f".{field}",
            check="deadlines_are_too_short",
        )
        for field in ("pendingDeadline", "heartbeatDeadline")
    ],
}

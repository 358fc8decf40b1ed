"""Step 3: record, reports and children of a job → Facts. The only memory is what makes a report newer than another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distillery.api.v1alpha1.conditions import Reason
from distillery.controller.cache import Cache
from distillery.controller.refusal import Refused
from distillery.planning.children import Child, PodView
from distillery.planning.observing import Facts
from distillery.planning.ownership import Parents, children_of
from distillery.planning.record import AttemptRecord, JobRef, parse_record
from distillery.planning.reports import accept_reports, newer
from distillery.stages.report import Report

DEAF_SECONDS = 90.0
"""If a job was not looked at for so long (the API server was away, or the clock was set), its workers' silence means
nothing yet."""


@dataclass(slots=True)
class Heard:
    """The last report of one attempt that was seen, and when."""

    report: Report
    at: float


@dataclass(slots=True)
class Memory:
    """What is remembered of one job between two looks; losing it is harmless."""

    looked_at: float = 0.0
    reports: dict[str, Heard] = field(default_factory=dict)
    parents: Parents = field(default_factory=Parents)


class Observer:
    """Reads a job's facts."""

    def __init__(self, cache: Cache, clock: Callable[[], float]) -> None:
        self._cache = cache
        self._clock = clock
        self._memory: dict[str, Memory] = {}

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a job that is gone."""
        self._memory.pop(uid, None)

    def drop(self, uid: str, keys: Sequence[str]) -> None:
        """Forget reports that were taken out of the cluster."""
        memory = self._memory.get(uid, Memory())
        for key in keys:
            memory.reports.pop(key, None)

    def facts(self, ref: JobRef, record: dict[str, Any], reports: dict[str, Any]) -> tuple[Facts, list[str]]:
        """Return the facts, and a complaint for each report that was ignored.

        Raises: Refused if the record is damaged.
        """
        now = self._clock()
        try:
            entries = parse_record(record.get("data") or {})
        except ValueError as error:
            repair = f"delete ConfigMap {record['metadata']['name']}: finished work is found in the store"
            raise Refused(Reason.RECORD_DAMAGED, f"{error} → {repair}", False) from None
        accepted, complaints = accept_reports(reports.get("data") or {}, entries)
        memory = self._memory.setdefault(ref.uid, Memory())
        deaf = not 0 <= now - memory.looked_at <= DEAF_SECONDS
        memory.looked_at = now
        for key, report in accepted.items():
            known = memory.reports.get(key)
            if known is not None and not newer(report, known.report):
                complaints.append(f"report {key} is ignored: it is older than one that was seen before")
                continue
            if known is None or known.report != report or deaf:
                memory.reports[key] = Heard(report, now)
        heard = {key: known for key, known in memory.reports.items() if key in entries}
        parents = memory.parents.joined(Parents.of(entries))
        children = children_of(ref, self._cache.children(ref.namespace, ref.uid), entries, parents)
        memory.parents = parents.with_children(children)
        facts = Facts(
            entries=entries,
            reports={key: known.report for key, known in heard.items()},
            children=children,
            heard={key: known.at for key, known in heard.items()},
            now=now,
            parents=memory.parents,
            lost=_lost(ref, children, self._cache.lost(ref.namespace, ref.uid), entries, parents),
        )
        return facts, complaints


def _lost(
    ref: JobRef,
    children: Sequence[Child],
    lost: Sequence[PodView],
    entries: Mapping[str, AttemptRecord],
    parents: Parents,
) -> tuple[PodView, ...]:
    """Return the pods among those lost that were the job's own."""
    uids = {pod.uid for pod in lost}
    own = children_of(ref, (*children, *lost), entries, parents) if lost else ()
    return tuple(pod for pod in own if isinstance(pod, PodView) and pod.uid in uids)

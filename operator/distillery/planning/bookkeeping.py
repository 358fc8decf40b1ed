"""What the operator notes and clears away beside its decision: ends of attempts, leftovers, expired objects. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from distillery.planning.children import Child, ClusterView, RayJobView
from distillery.planning.frontier import frontier_of
from distillery.planning.observed import Observed
from distillery.planning.observing import Facts, gpu_seconds, is_live, shown_failure
from distillery.planning.plan import Plan
from distillery.planning.record import AttemptRecord

WIND_DOWN_SECONDS = 60.0
"""KubeRay removes the cluster of an ended job by itself; after so long the operator helps."""
NOTE_SECONDS = 60.0
"""UIDs of RayJob and Ray clusters are noted with what is written anyway; an attempt of this age is worth a write."""
MOST_CLUSTERS = 16
"""A queue makes one Ray cluster after the other of one RayJob; of so many the UIDs are noted."""
MANY_REPORTS = 60
"""Each has at most 8 KiB: half of what a ConfigMap holds."""
KEPT_REPORTS = 20
CHECKPOINT_SECONDS = 120.0
"""For the last checkpoint, where no profile that says it is at hand."""


@dataclass(frozen=True, slots=True)
class Removal:
    """A RayJob to delete, and why. `name` is also that of its assignment."""

    name: str
    uid: str
    reason: str


def noted(facts: Facts) -> dict[str, AttemptRecord]:
    """Return the record's entries that must be written anew: what ended, what failed, when GPUs began to count."""
    changed: dict[str, AttemptRecord] = {}
    for key, entry in facts.entries.items():
        if entry.ended_at is not None:
            continue
        updates = _updates(entry, facts)
        if updates:
            changed[key] = entry.model_copy(update=updates)
    return changed


def _updates(entry: AttemptRecord, facts: Facts) -> dict[str, object]:
    children, report = facts.of(entry.key), facts.reports.get(entry.key)
    clusters = [child.created_at for child in children if isinstance(child, ClusterView)]
    gone = _gone_at(entry, facts)
    updates: dict[str, object] = {}
    taken = facts.pods(entry).takes_gpus
    if entry.gpus and entry.cluster_at is None and taken:
        updates["cluster_at"] = min(clusters) if entry.held_at is None else facts.now
    if entry.cluster_at is not None and not taken:  # in the queue again, refused or over
        updates |= {"gpu_seconds": gpu_seconds(entry, gone), "cluster_at": None}
    updates |= _held(entry, facts)
    failure = shown_failure(entry, facts)
    if failure is not None and failure != entry.failure and (report is None or report.result is None):
        updates["failure"] = failure
    begun = bool(children) or report is not None or entry.control == "stop"
    if begun and not clusters and not is_live(entry, facts):
        updates["ended_at"] = gone
        updates |= _unseen(entry, children, gone)
    links = _links(entry, children)
    old = bool(clusters) and facts.now - min(clusters) >= NOTE_SECONDS
    return updates | links if updates or old else {}


def _links(entry: AttemptRecord, children: Iterable[Child]) -> dict[str, object]:
    """Return what is news of the UIDs by which children of an attempt are known when their parents are gone."""
    job = entry.ray_job_uid
    clusters = list(entry.ray_cluster_uids)
    for child in children:
        if isinstance(child, RayJobView):
            job = child.uid
        elif isinstance(child, ClusterView) and child.uid not in clusters and len(clusters) < MOST_CLUSTERS:
            clusters.append(child.uid)
    links: dict[str, object] = {}
    if job != entry.ray_job_uid:
        links["ray_job_uid"] = job
    if clusters != entry.ray_cluster_uids:
        links["ray_cluster_uids"] = clusters
    return links


def _held(entry: AttemptRecord, facts: Facts) -> dict[str, object]:
    """Note that pods cannot be created, and when they can again: the wait for them starts anew then."""
    held = facts.pods(entry).held
    if held and entry.held_at is None:
        return {"held_at": facts.now}
    if not held and entry.held_at is not None:
        return {"held_at": None, "freed_at": facts.now}
    return {}


def _gone_at(entry: AttemptRecord, facts: Facts) -> float:
    """Return when the last of an attempt was gone, at the latest: nobody may have looked for hours."""
    report = facts.reports.get(entry.key)
    over = next((c.ended_at for c in facts.of(entry.key) if isinstance(c, RayJobView) and c.ended_at), None)
    if over is None and report is not None and report.state != "running":
        over = report.at
    return facts.now if over is None else max(entry.started_at, min(facts.now, over + WIND_DOWN_SECONDS))


def _unseen(entry: AttemptRecord, children: Iterable[Child], gone: float) -> dict[str, object]:
    """Count the GPUs of an attempt whose cluster came and went while nobody looked."""
    begun = next((c.started_at for c in children if isinstance(c, RayJobView) and c.started_at), None)
    held = entry.held_at is not None or entry.freed_at is not None
    if begun is None or entry.cluster_at is not None or entry.gpu_seconds or held:
        return {}
    return {"gpu_seconds": entry.gpus * max(0.0, gone - begun)}


def removals(facts: Facts, window: float = CHECKPOINT_SECONDS) -> tuple[list[Removal], float | None]:
    """Return the RayJobs that must go, and when to look again (seconds since the epoch).

    Args:
        facts: what is known.
        window: seconds that a worker has for its last checkpoint after a stop.
    """
    gone: list[Removal] = []
    looks: list[float] = []
    for job in (child for child in facts.children if isinstance(child, RayJobView) and not child.terminating):
        entry = facts.entries.get(job.key)
        if entry is None:
            gone.append(Removal(job.name, job.uid, "the record does not know it"))
            continue
        due, reason = _due(entry, job, facts, window)
        if due is None:
            continue
        if due <= facts.now:
            gone.append(Removal(job.name, job.uid, reason))
        else:
            looks.append(due)
    return gone, min(looks, default=None)


def _due(entry: AttemptRecord, job: RayJobView, facts: Facts, window: float) -> tuple[float | None, str]:
    """Return when a RayJob must go, or None."""
    report = facts.reports.get(entry.key)
    if entry.control == "stop" and entry.ended_at is None:
        stopped = report is None or report.state != "running"
        asked = entry.control_at or entry.started_at
        return (facts.now if stopped else asked + window), "it was asked to stop"
    if job.deployment_status == "ValidationFailed":
        return facts.now, "KubeRay refuses it"
    if report is not None and report.state != "running" and not job.ended:
        return facts.heard.get(entry.key, facts.now) + WIND_DOWN_SECONDS, "it did not end by itself"
    return None, ""


def outdated_reports(facts: Facts, plan: Plan, observed: Observed) -> list[str]:
    """Return the keys of reports that say nothing about the plan any more, once there are many of them.

    A ConfigMap holds 1 MiB, and an object that is edited or rerun for months would fill it. The newest stay, since
    they know what the object has spent.
    """
    if len(facts.reports) <= MANY_REPORTS:
        return []
    identities = {outcome.identity for outcome in frontier_of(plan, observed).done}
    recipes = {run.recipe for run in plan.runs}

    def serves(key: str) -> bool:
        entry, report = facts.entries[key], facts.reports[key]
        outcomes = [*([report.result] if report.result else []), *report.reusable]
        judged = entry.recipe in recipes and entry.generation == plan.generation
        return entry.ended_at is None or judged or any(o.identity in identities for o in outcomes)

    by_age = sorted(facts.reports, key=lambda key: facts.entries[key].started_at)
    return [key for key in by_age[:-KEPT_REPORTS] if not serves(key)]


def expired(facts: Facts, finished_at: float, ttl: int | None) -> tuple[list[Removal], float | None]:
    """Return what `ttlSecondsAfterFinished` removes from a finished job, and when to look again."""
    jobs: Iterable[RayJobView] = (
        child for child in facts.children if isinstance(child, RayJobView) and not child.terminating
    )
    found = [Removal(job.name, job.uid, "ttlSecondsAfterFinished are over") for job in jobs]
    if ttl is None or not found:
        return [], None
    due = finished_at + ttl
    return (found, None) if due <= facts.now else ([], due)

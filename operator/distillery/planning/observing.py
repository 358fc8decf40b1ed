"""Record + reports + children → Observed: what is known of a job on the cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from distillery.api.v1alpha1.conditions import Reason
from distillery.planning.children import Child, ClusterView, PodView, RayJobView
from distillery.planning.control import Control
from distillery.planning.failures import WATCHDOGS, worker_refusal
from distillery.planning.observed import Attempt, Observed, Patience
from distillery.planning.ownership import Parents
from distillery.planning.plan import Plan
from distillery.planning.pods import AttemptPods
from distillery.planning.record import AttemptRecord
from distillery.stages.report import Failure, Outcome, Report
from distillery.stages.stage import StageName

LOST_NODE_SECONDS = 300.0
"""A pod that should have been gone for so long is on a node that is gone too."""
SILENT_SECONDS = 45.0
"""A worker speaks every 10 s; one that is not heard for so long may lack the rights to."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read from the cluster at `now`.

    `children` are the job's own, `parents` also those that are gone. `heard` says when each attempt's report was last
    seen to change. `lost` are pods that are gone although their attempt goes on, as far as they were seen.
    """

    entries: Mapping[str, AttemptRecord]
    reports: Mapping[str, Report]
    children: Sequence[Child]
    heard: Mapping[str, float]
    now: float
    parents: Parents = field(default_factory=Parents)
    lost: Sequence[PodView] = ()

    def noting(self, notes: Mapping[str, AttemptRecord]) -> Facts:
        """Return them with entries of the record as they are about to be written."""
        return replace(self, entries={**self.entries, **notes})

    def until(self, moment: float | None) -> float | None:
        """Return in how many seconds a moment comes, 0 if it has passed; None for one that never comes."""
        return None if moment is None else max(0.0, moment - self.now)

    def of(self, key: str) -> tuple[Child, ...]:
        """Return the children of one attempt."""
        return tuple(child for child in self.children if child.key == key)

    def pods(self, entry: AttemptRecord) -> AttemptPods:
        """Return the children of one attempt, sorted."""
        lost = [pod for pod in self.lost if pod.key == entry.key]
        return AttemptPods.of(entry.stage, self.of(entry.key), lost, self.now)

    def knows(self, key: str) -> bool:
        """Say whether anything of an attempt was ever seen; else it was recorded and never created."""
        return key in self.reports or bool(self.of(key))

    def has_result(self, key: str) -> bool:
        """Say whether an attempt has committed its artifact: nothing that is left of it does any work."""
        report = self.reports.get(key)
        return report is not None and report.result is not None


def observe(
    facts: Facts,
    plan: Plan,
    control: Control,
    patience: Patience,
    since: float | None = None,
    shapes: Mapping[StageName, str] | None = None,
) -> Observed:
    """Put the facts together. What lies under another storage than the plan's is not there for it.

    Args:
        facts: what was read.
        plan: of this generation.
        control: what people have asked for.
        patience: of the profile.
        since: when this generation was first met.
        shapes: what the pods of a stage would be made from now, by stage, as far as it matters.
    """
    here = {
        key: report for key, report in facts.reports.items() if facts.entries[key].storage == plan.storage_uri
    }
    outcomes: dict[str, Outcome] = {}
    for report in here.values():
        for outcome in (*([report.result] if report.result else []), *report.reusable):
            outcomes.setdefault(outcome.identity, outcome)
    return Observed(
        attempts=tuple(_attempt(entry, facts) for entry in facts.entries.values()),
        outcomes=outcomes,
        sources={report.recipe: report.sources for report in here.values() if report.sources is not None},
        forgiven_before=control.forgiven_before,
        generation=plan.generation,
        generation_since=since,
        ledger_micro=spent_micro(facts.reports),
        unknown_micro=max((report.unknown_micro or 0 for report in facts.reports.values()), default=0),
        gpu_seconds=sum(gpu_seconds(entry, facts.now) for entry in facts.entries.values()),
        control=control,
        patience=patience,
        shapes=shapes or {},
    )


def is_live(entry: AttemptRecord, facts: Facts) -> bool:
    """Say whether anything of an attempt may still work: its result ends it, else the last of its objects."""
    if entry.ended_at is not None or facts.has_result(entry.key):
        return False
    return any(_counts(child, facts.now) for child in facts.of(entry.key))


def silent_at_work(facts: Facts) -> bool:
    """Say whether a live attempt has said nothing for about one look, though its head pod could be at work."""
    for entry in facts.entries.values():
        pods = facts.pods(entry)
        if not is_live(entry, facts) or not pods.speaks:
            continue
        since = facts.heard.get(entry.key, max(pod.created_at for pod in pods.pods if pod.head))
        if facts.now - since >= SILENT_SECONDS:
            return True
    return False


def shown_failure(entry: AttemptRecord, facts: Facts) -> Failure | None:
    """Return what the cluster shows of why an attempt failed, or what was noted when it could be seen."""
    if entry.failure is not None and entry.failure.failure_class == "preemption":
        return entry.failure  # what comes of it, such as silence, is no failure of its own
    if entry.control == "stop" and entry.control_reason in WATCHDOGS:
        return _infrastructure(entry.control_reason, entry.control_message)
    children, report = facts.of(entry.key), facts.reports.get(entry.key)
    failed = [c.message for c in children if isinstance(c, RayJobView) and c.deployment_status == "Failed"]
    refused = worker_refusal(entry, report, failed[0] if failed else "")
    shown = _pods_failure(children) or refused or _jobs_failure(children)
    if shown is not None:
        return shown
    if entry.failure is None and report is not None and report.state == "stopped":
        message = f"{entry.stage} attempt {entry.attempt} was interrupted from outside"
        return Failure(failure_class="preemption", reason=Reason.INTERRUPTED, message=message)
    return entry.failure


def _pods_failure(children: Sequence[Child]) -> Failure | None:
    for pod in (child for child in children if isinstance(child, PodView)):
        if pod.evicted:
            message = f"pod {pod.name} was taken away: {pod.message or pod.evicted}"
            return Failure(failure_class="preemption", reason=pod.evicted, message=message)
        if pod.oom_killed:
            message = f"pod {pod.name} ran out of memory: raise its memory limit in the profile, then retry"
            return _infrastructure(Reason.OUT_OF_MEMORY, message)
    return None


def _jobs_failure(children: Sequence[Child]) -> Failure | None:
    for job in (child for child in children if isinstance(child, RayJobView)):
        if job.deployment_status == "ValidationFailed":
            return Failure(failure_class="user", reason=Reason.RAY_JOB_INVALID, message=job.message)
        if job.deployment_status == "Failed":
            return _infrastructure(
                job.reason or Reason.RAY_JOB_FAILED, job.message or "KubeRay gave the job up"
            )
    return None


def gpu_seconds(entry: AttemptRecord, now: float) -> float:
    """Return the GPU seconds of an attempt so far: of clusters that are gone, and of the one that is there."""
    if entry.ended_at is not None or entry.cluster_at is None:
        return entry.gpu_seconds
    return entry.gpu_seconds + entry.gpus * max(0.0, now - entry.cluster_at)


def _attempt(entry: AttemptRecord, facts: Facts) -> Attempt:
    children, report = facts.of(entry.key), facts.reports.get(entry.key)
    live, pods = is_live(entry, facts), facts.pods(entry)
    ended = entry.ended_at
    if report is not None and not live and (ended is None or report.result is not None):
        ended = report.at  # a result counts from when it was committed, not from when its pods were gone
    return Attempt(
        stage=entry.stage,
        number=entry.attempt,
        recipe=entry.recipe,
        identity=entry.identity or (report.result.identity if report and report.result else None),
        started_at=entry.started_at,
        live=live,
        report=report,
        stop_requested=entry.control == "stop",
        ended_at=ended,
        generation=entry.generation,
        storage=entry.storage,
        created=bool(children) or report is not None or entry.ended_at is not None,
        stop_reason=entry.control_reason,
        failure=shown_failure(entry, facts),
        max_cost_micro=entry.max_cost_micro,
        trouble=pods.trouble,
        at_work=report is not None and pods.speaks,
        shape=entry.shape,
        pending_since=pods.pending_since(entry.freed_at),
        heard_at=pods.silent_since(facts.heard.get(entry.key), entry.freed_at),
    )


def _counts(child: Child, now: float) -> bool:
    match child:
        case RayJobView():
            return not child.ended
        case ClusterView():
            return True
        case PodView():
            return child.terminating_at is None or now - child.terminating_at < LOST_NODE_SECONDS


def spent_micro(reports: Mapping[str, Report]) -> int:
    """The ledger as last read by any worker, and what running attempts say they have spent since."""
    settled = max((report.spent_micro or 0 for report in reports.values()), default=0)
    running = [r for r in reports.values() if r.state == "running" and r.result is None]
    since = max(((r.spent_micro or settled) + (r.progress.spent_micro or 0) for r in running), default=0)
    return max(settled, since)


def _infrastructure(reason: str, message: str) -> Failure:
    return Failure(failure_class="infrastructure", reason=reason, message=message)

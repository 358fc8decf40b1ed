"""One reading of an attempt's pods for all: what is shown, and which clocks run meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from distillery.planning.children import Child, ClusterView, PodView, RayJobView
from distillery.planning.pods import SLOW_SECONDS, UNREADY_SECONDS, AttemptPods

KEY = "student.1"
JOB = RayJobView("ns", "job", "rayjob-uid", "uid", KEY, created_at=11.0, deployment_status="Running")
CLUSTER = ClusterView("ns", "job-abc", "cluster-uid", "uid", KEY, created_at=12.0)
HEAD = PodView("ns", "head", "pod-uid", "uid", KEY, created_at=13.0, phase="Running", head=True, ready=True)
WORKER = replace(HEAD, name="worker", uid="other-uid", head=False)
QUEUED = replace(JOB, suspended=True)
HELD = replace(CLUSTER, refusal="exceeded quota", held=True)


def pods(*children: Child, lost: tuple[PodView, ...] = (), now: float = 20.0) -> AttemptPods:
    return AttemptPods.of("student", children, lost, now)


@pytest.mark.parametrize(
    ("children", "trouble", "pending", "silent"),
    [
        ((JOB, CLUSTER, HEAD, WORKER), "", 12.0, 50.0),
        ((QUEUED,), "waiting in the queue", None, None),
        ((QUEUED, CLUSTER, HEAD), "waiting in the queue", None, None),
        ((replace(QUEUED, suspended=False),), "", 11.0, 50.0),
        ((JOB, HELD), "exceeded quota", None, None),
        ((JOB, HELD, HEAD), "exceeded quota", None, 50.0),
        (
            (JOB, HELD, replace(HEAD, trouble="ErrImagePull")),
            "pod head: ErrImagePull; exceeded quota",
            None,
            None,
        ),
        ((JOB, replace(HELD, held=False), HEAD), "exceeded quota", 12.0, 50.0),
        ((JOB, replace(HELD, terminating=True), HEAD), "", 12.0, 50.0),
        ((replace(JOB, deployment_status="Suspended"),), "waiting in the queue", None, None),
        ((replace(JOB, started_at=70.0),), "", 70.0, 70.0),
        ((JOB, CLUSTER, replace(HEAD, created_at=60.0)), "", 12.0, 60.0),
    ],
)
def test_what_is_shown_and_what_is_waited_for_agree(
    children: tuple[Child, ...], trouble: str, pending: float | None, silent: float | None
) -> None:
    seen = pods(*children)
    assert (seen.trouble, seen.pending_since(None), seen.silent_since(50.0, None)) == (
        trouble,
        pending,
        silent,
    )
    assert seen.silent_since(None, None) is None


def test_clocks_begin_anew_when_pods_can_be_created_again() -> None:
    seen = pods(JOB, CLUSTER, HEAD)
    assert (seen.pending_since(400.0), seen.silent_since(50.0, 400.0)) == (400.0, 400.0)
    assert (seen.pending_since(5.0), seen.silent_since(50.0, 5.0)) == (12.0, 50.0)


def test_a_pod_that_runs_without_being_ready_is_told_after_a_while_with_what_it_lacks() -> None:
    slow = replace(
        WORKER, ready=False, unready_since=100.0, shortage="its request of 100m CPU is less than …"
    )
    assert pods(JOB, CLUSTER, HEAD, slow, now=100.0 + UNREADY_SECONDS).trouble == ""
    assert pods(JOB, CLUSTER, HEAD, slow, now=101.0 + UNREADY_SECONDS).trouble == (
        "pod worker runs but is not ready: Ray does not start, or its probes fail; its request of 100m CPU is less"
        " than … → raise spec.student.workers.resources"
    )
    head = replace(slow, name="head", head=True)
    assert pods(JOB, CLUSTER, head, now=500.0).trouble.endswith(
        "→ raise the resources of its head in the profile (spec.pods.student.head)"
    )


def test_what_kuberay_has_not_made_is_named_since_only_its_events_say_why() -> None:
    late = 13.0 + SLOW_SECONDS
    assert pods(JOB, CLUSTER, now=late - 2).trouble == ""
    assert pods(JOB, CLUSTER, now=late).trouble == (
        "its Ray cluster has no pods: see kubectl describe raycluster job-abc"
    )
    assert pods(JOB, now=late).trouble == "KubeRay has made no Ray cluster: see kubectl describe rayjob job"
    assert pods(replace(JOB, deployment_status="Complete"), now=late).trouble == ""


def test_only_pods_of_the_ray_cluster_that_is_there_count_as_lost() -> None:
    earlier = replace(WORKER, created_at=1.0, ended="it failed")
    lost = replace(WORKER, created_at=14.0, evicted="Preempted", message="by a batch job")
    over = replace(WORKER, name="second", created_at=15.0, ended="it failed: out of disk")
    assert pods(JOB, CLUSTER, HEAD, lost=(earlier,)).trouble == ""
    assert pods(JOB, CLUSTER, HEAD, lost=(earlier, lost)).trouble == (
        "1 of its pods has ended early, the last worker: it was taken away: by a batch job"
    )
    assert pods(JOB, CLUSTER, HEAD, over, lost=(lost,)).trouble == (
        "2 of its pods have ended early, the last second: it failed: out of disk"
    )
    assert pods(JOB, lost=(lost,)).trouble == ""
    assert pods(JOB, replace(CLUSTER, terminating=True), over, lost=(lost,)).trouble == ""

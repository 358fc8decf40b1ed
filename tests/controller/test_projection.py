"""Documents as kube-apiserver 1.34 and KubeRay 1.6 give them, shortened where nothing is read."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.controller.projection import project_cluster, project_pod, project_rayjob
from distillery.planning.children import ClusterView, Owner, PodView, RayJobView

LABELS = {
    "app.kubernetes.io/managed-by": "distillery",
    "distillery.dev/job": "tickets",
    "distillery.dev/job-uid": "0f6c",
    "distillery.dev/stage": "teacher",
    "distillery.dev/attempt": "2",
}
OWNER = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": "c", "uid": "u", "controller": True}
COMMON = {
    "namespace": "team-a",
    "job_uid": "0f6c",
    "managed": True,
    "owner": Owner("ray.io", "RayCluster", "c", "u"),
    "key": "teacher.2",
    "created_at": 1763817000.0,
}


def document(name: str, labels: dict | None = None, **parts) -> dict:
    metadata = {
        "name": name,
        "namespace": "team-a",
        "uid": f"uid-{name}",
        "creationTimestamp": "2025-11-22T13:10:00Z",
        "labels": {**LABELS, **(labels or {})},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n"}, OWNER],
    }
    return {"metadata": {**metadata, **parts.pop("metadata", {})}, **parts}


RAY_JOB_RUNNING = document(
    "tickets-teacher-2-ab12cd34",
    spec={"submissionMode": "HTTPMode", "suspend": False, "backoffLimit": 0},
    status={
        "dashboardURL": "tickets-teacher-2-ab12cd34-x7k2p-head-svc.team-a.svc.cluster.local:8265",
        "jobDeploymentStatus": "Running",
        "jobId": "tickets-teacher-2-ab12cd34-9qvlz",
        "jobStatus": "RUNNING",
        "rayClusterName": "tickets-teacher-2-ab12cd34-x7k2p",
        "rayClusterStatus": {"state": "ready", "readyWorkerReplicas": 2},
        "startTime": "2025-11-22T13:10:02Z",
    },
)
RAY_JOB_FAILED = document(
    "tickets-teacher-2-ab12cd34",
    spec={"suspend": True},
    metadata={"deletionTimestamp": "2025-11-22T13:20:00Z"},
    status={
        "jobDeploymentStatus": "Failed",
        "jobStatus": "FAILED",
        "reason": "AppFailed",
        "message": "Job entrypoint command failed with exit code 1",
        "failed": 1,
    },
)


def test_a_rayjob_shows_both_of_its_statuses():
    assert project_rayjob(RAY_JOB_RUNNING) == RayJobView(
        name="tickets-teacher-2-ab12cd34",
        uid="uid-tickets-teacher-2-ab12cd34",
        job_status="RUNNING",
        deployment_status="Running",
        started_at=1763817002.0,
        **COMMON,
    )
    failed = project_rayjob(RAY_JOB_FAILED)
    assert failed.ended
    assert (failed.job_status, failed.reason, failed.suspended, failed.terminating) == (
        "FAILED",
        "AppFailed",
        True,
        True,
    )
    assert failed.message == "Job entrypoint command failed with exit code 1"


def test_a_rayjob_without_a_status_has_just_been_created():
    view = project_rayjob(document("new", spec={"entrypoint": "python -m distillery.worker"}))
    assert (view.job_status, view.deployment_status, view.ended) == ("", "", False)


def test_a_raycluster_keeps_the_labels_that_kuberay_copied():
    assert project_cluster(document("c", {"ray.io/originated-from-crd": "RayJob"})) == ClusterView(
        name="c", uid="uid-c", **COMMON
    )
    assert project_cluster(document("c", metadata={"deletionTimestamp": "2025-11-22T13:20:00Z"})).terminating


def pod(phase: str = "Pending", **status) -> dict:
    return document(
        "head",
        {"ray.io/node-type": "head", "ray.io/cluster": "c"},
        spec={"nodeName": "node-1", "containers": [{"name": "ray-head"}]},
        status={"phase": phase, **status},
    )


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def container(name: str = "ray-head", **state) -> dict:
    return {
        "name": name,
        "ready": False,
        "restartCount": 0,
        "image": "worker",
        "state": state,
        "lastState": {},
    }


def test_a_running_pod_is_ready_and_has_no_trouble():
    running = pod(
        "Running",
        conditions=[condition("PodScheduled", "True"), condition("Ready", "True")],
        initContainerStatuses=[
            container("wait-gcs-ready", terminated={"reason": "Completed", "exitCode": 0})
        ],
        containerStatuses=[container(running={"startedAt": "2025-11-22T13:11:00Z"})],
    )
    assert project_pod(running) == PodView(
        name="head", uid="uid-head", phase="Running", head=True, ready=True, node="node-1", **COMMON
    )


UNSCHEDULABLE = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available."
PULL = 'Back-off pulling image "registry.example/worker:1": ErrImagePull: not found'
NO_SECRET = 'secret "teacher" not found'
NODE_LOST = "Node node-1 which was running pod head is unresponsive"

TROUBLE = [
    (
        pod(conditions=[condition("PodScheduled", "False", "Unschedulable", UNSCHEDULABLE)]),
        ("Unschedulable", UNSCHEDULABLE),
    ),
    (
        pod(containerStatuses=[container(waiting={"reason": "ImagePullBackOff", "message": PULL})]),
        ("ImagePullBackOff", f"container ray-head: {PULL}"),
    ),
    (
        pod(
            containerStatuses=[
                container(waiting={"reason": "CreateContainerConfigError", "message": NO_SECRET})
            ]
        ),
        ("CreateContainerConfigError", f"container ray-head: {NO_SECRET}"),
    ),
    (
        pod(
            initContainerStatuses=[
                container("init", waiting={"reason": "InvalidImageName", "message": "bad"})
            ],
            containerStatuses=[container(waiting={"reason": "PodInitializing"})],
        ),
        ("InvalidImageName", "container init: bad"),
    ),
    (pod(containerStatuses=[container(waiting={"reason": "ContainerCreating"})]), ("", "")),
    (
        pod(
            "Failed", reason="DeadlineExceeded", message="Pod was active on the node longer than the deadline"
        ),
        ("DeadlineExceeded", "Pod was active on the node longer than the deadline"),
    ),
]


@pytest.mark.parametrize(("given_pod", "expected"), TROUBLE)
def test_a_pod_that_does_not_run_says_why_in_the_words_of_who_knows(given_pod, expected):
    view = project_pod(given_pod)
    assert (view.trouble, view.message) == expected
    assert view.evicted == ""


EVICTED = [
    (
        pod(
            "Failed",
            reason="Evicted",
            message="The node was low on resource: memory.",
            conditions=[
                condition("DisruptionTarget", "True", "TerminationByKubelet", "The node was low on memory.")
            ],
        ),
        "TerminationByKubelet",
        "The node was low on memory.",
    ),
    (
        pod(
            "Running",
            conditions=[
                condition("DisruptionTarget", "True", "PreemptionByScheduler", "preempted by urgent")
            ],
        ),
        "PreemptionByScheduler",
        "preempted by urgent",
    ),
    (
        pod("Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds the limit."),
        "Evicted",
        "Pod ephemeral local storage usage exceeds the limit.",
    ),
    (pod("Running", reason="NodeLost", message=NODE_LOST), "NodeLost", NODE_LOST),
    (
        pod("Failed", reason="OutOfcpu", message="Node didn't have enough cpu"),
        "OutOfcpu",
        "Node didn't have enough cpu",
    ),
    (
        pod("Running", conditions=[condition("DisruptionTarget", "False", "x", "y")]),
        "",
        "",
    ),
]


@pytest.mark.parametrize(("given_pod", "evicted", "message"), EVICTED)
def test_a_pod_that_was_taken_away_is_told_from_one_that_failed(given_pod, evicted, message):
    view = project_pod(given_pod)
    assert (view.evicted, view.message) == (evicted, message)


def test_running_out_of_memory_is_seen_also_after_the_container_began_again():
    killed = {"reason": "OOMKilled", "exitCode": 137}
    now = pod("Failed", containerStatuses=[container(terminated=killed)])
    before = pod(
        "Running", containerStatuses=[{**container(running={}), "lastState": {"terminated": killed}}]
    )
    other = pod("Failed", containerStatuses=[container(terminated={"reason": "Error", "exitCode": 1})])
    assert [project_pod(given_pod).oom_killed for given_pod in (now, before, other)] == [True, True, False]


def test_a_terminating_pod_says_when_its_grace_period_ends():
    terminating = pod("Running")
    terminating["metadata"]["deletionTimestamp"] = "2025-11-22T13:10:30Z"
    assert project_pod(terminating).terminating_at == 1763817030.0


def test_a_long_message_is_cut():
    assert len(project_pod(TROUBLED_AT_LENGTH).message) == 500


TROUBLED_AT_LENGTH = pod(conditions=[condition("PodScheduled", "False", "Unschedulable", "no " * 1000)])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
SPOILED = ["metadata", "status", "spec"]


@given(st.sampled_from([RAY_JOB_FAILED, TROUBLE[3][0], EVICTED[0][0]]), st.sampled_from(SPOILED), st.data())
def test_no_document_however_spoiled_makes_a_projection_fail(base, part, data):
    spoiled = copy.deepcopy(base)
    inner = spoiled[part]
    field = data.draw(st.sampled_from(sorted(inner)))
    if data.draw(st.booleans()):
        inner[field] = data.draw(JSON)
    else:
        spoiled[part] = data.draw(JSON)
    for project in (project_rayjob, project_cluster, project_pod):
        project(spoiled)

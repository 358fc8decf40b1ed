"""Verbs that steer a job of a cluster: what they write, what they wait for, how they explain failures."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from distillery.planning.control import control_of
from distillery.stages.stage import STAGE_NAMES

VERBS = ("suspend", "resume", "cancel", "retry")


def patches(cluster: Any) -> list[Any]:
    return [body for method, _, _, body in cluster.asked if method == "PATCH"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_request_is_one_annotation_that_the_operator_understands(
    verb: str, cluster: Any, distillery: Any
) -> None:
    cluster.job()
    done = distillery(verb, "tiny", "--kubeconfig", cluster.kubeconfig)
    (patch,) = patches(cluster)
    key = f"distillery.dev/{verb}-requested-at"
    (value,) = patch["metadata"]["annotations"].values()
    assert patch == {"metadata": {"uid": "tiny-uid", "annotations": {key: value}}}
    assert (done.code, done.out, done.err) == (0, f"tiny: {key}: {value}\n", "")
    control = control_of({key: value}, False, {})
    assert (control.handled, control.complaints) == ({f"{verb}-requested-at": value}, ())


def test_a_request_is_newer_than_every_earlier_one_whatever_the_clock_says(
    cluster: Any, distillery: Any
) -> None:
    future = "2100-01-01T00:00:00Z"
    handled = {"suspend-requested-at": future, "rerun-requested-at/student": f"{future}/student"}
    cluster.job(status={"handled": handled})
    distillery("resume", "tiny", "--kubeconfig", cluster.kubeconfig)
    (patch,) = patches(cluster)
    assert patch["metadata"]["annotations"] == {
        "distillery.dev/resume-requested-at": "2100-01-01T00:00:00.001Z"
    }
    assert not control_of(patch["metadata"]["annotations"], False, handled).suspended


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_a_rerun_names_its_stage(stage: str, cluster: Any, distillery: Any) -> None:
    cluster.job()
    assert distillery("rerun", "tiny", stage, "--kubeconfig", cluster.kubeconfig).code == 0
    annotations = patches(cluster)[0]["metadata"]["annotations"]
    assert list(control_of(annotations, False, {}).reruns) == [stage]


def test_a_rerun_of_something_else_is_refused_before_the_cluster_is_asked(
    cluster: Any, distillery: Any
) -> None:
    done = distillery("rerun", "tiny", "studnet", "--kubeconfig", cluster.kubeconfig)
    stages = "dataset, teacher, filter, student, evaluation"
    assert (done.code, done.err) == (2, f"error: STAGE: 'studnet' is no stage → use one of {stages}\n")
    assert cluster.asked == []


def test_an_approval_names_the_filter_artifact_that_waits(cluster: Any, distillery: Any) -> None:
    stages = [{"name": "filter", "state": "Succeeded", "identity": "f1"}]
    cluster.job(status={"phase": "AwaitingReview", "stages": stages})
    done = distillery("approve", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.out) == (0, "tiny: distillery.dev/approve-review: f1\n")
    assert patches(cluster)[0]["metadata"]["annotations"] == {"distillery.dev/approve-review": "f1"}


def test_nothing_is_approved_that_does_not_wait(cluster: Any, distillery: Any) -> None:
    cluster.job(status={"phase": "Running"})
    done = distillery("approve", "tiny", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.err) == (1, "error: tiny does not wait for a review: it is Running\n")
    assert patches(cluster) == []


def test_waiting_ends_when_the_operator_has_latched_the_request(cluster: Any, distillery: Any) -> None:
    def operator(job: Any) -> list[Any]:
        annotations = job["metadata"]["annotations"]
        handled = dict(control_of(annotations, False, {}).handled)
        unmoved = {**job, "status": {"phase": "Running"}}
        status = {"phase": "Suspended", "progress": {"message": "on request"}, "handled": handled}
        return [unmoved, {**job, "status": status}]

    cluster.job(spec={})
    cluster.operator = operator
    done = distillery("suspend", "tiny", "--wait", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.out.splitlines()[1:]) == (0, ["tiny: Suspended: on request"])


def test_resuming_against_the_manifest_is_refused(cluster: Any, distillery: Any) -> None:
    cluster.job(spec={"suspend": True})
    done = distillery("resume", "tiny", "--kubeconfig", cluster.kubeconfig)
    message = "spec.suspend of tiny is true, and wins over every request"
    assert (done.code, done.err) == (1, f"error: {message} → set it to false in the manifest and submit it\n")
    assert patches(cluster) == []


def test_a_missing_right_is_named(cluster: Any, distillery: Any) -> None:
    cluster.job()
    words = (
        'distillationjobs.distillery.dev "tiny" is forbidden: User "ann" cannot patch resource '
        '"distillationjobs" in API group "distillery.dev" in the namespace "team-a"'
    )
    body = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": words}
    cluster.answers["PATCH", "distillationjobs"] = lambda: web.json_response(body, status=403)
    done = distillery("cancel", "tiny", "--kubeconfig", cluster.kubeconfig)
    repair = "ask for a Role in namespace team-a that allows to patch distillationjobs.distillery.dev"
    assert (done.code, done.out, done.err) == (1, "", f"error: {words} → {repair}\n")


def test_expired_credentials_are_named(cluster: Any, distillery: Any) -> None:
    body = {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"}
    cluster.answers["GET", "distillationjobs"] = lambda: web.json_response(body, status=401)
    done = distillery("cancel", "tiny", "--kubeconfig", cluster.kubeconfig)
    repair = "log in again, or ask who runs the cluster"
    assert (done.code, done.err) == (1, f"error: the API server refuses: Unauthorized → {repair}\n")


def test_the_namespace_is_that_of_the_option_else_of_the_context(cluster: Any, distillery: Any) -> None:
    cluster.job()
    cluster.job(namespace="team-b")
    for flags in ((), ("-n", "team-b")):
        assert distillery("cancel", "tiny", "--kubeconfig", cluster.kubeconfig, *flags).code == 0
    paths = [path.split("/")[5] for method, path, _, _ in cluster.asked if method == "PATCH"]
    assert paths == ["team-a", "team-b"]

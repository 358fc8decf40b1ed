"""Verbs that steer a job of a cluster: what they write, what they wait for, how they explain failures."""

from __future__ import annotations

import time
from typing import Any

import pytest
from aiohttp import web

from distillery.planning.control import control_of, parse_time
from distillery.stages.stage import STAGE_NAMES

VERBS = ("suspend", "resume", "cancel", "retry")
EARLIER = "2025-01-01T00:00:00Z"


def patches(cluster: Any) -> list[Any]:
    return [body for method, _, _, body in cluster.asked if method == "PATCH"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_request_is_one_annotation_that_the_operator_understands(
    verb: str, cluster: Any, distillery: Any
) -> None:
    failed = {"name": "dataset", "state": "Failed", "attempt": 1}
    cluster.job(status={"stages": [failed], "handled": {"suspend-requested-at": EARLIER}})
    done = distillery(verb, "tiny", "--kubeconfig", cluster.kubeconfig)
    (patch,) = patches(cluster)
    key = f"distillery.dev/{verb}-requested-at"
    (value,) = patch["metadata"]["annotations"].values()
    assert patch == {"metadata": {"uid": "tiny-uid", "annotations": {key: value}}}
    assert (done.code, done.out, done.err) == (0, f"tiny: {key}: {value}\n", "")
    control = control_of({key: value}, False, {}, time.time())
    assert (control.handled[f"{verb}-requested-at"], control.complaints) == (value, ())


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
    assert not control_of(patch["metadata"]["annotations"], False, handled, parse_time(future)).suspended


def test_a_request_does_not_follow_one_that_the_operator_would_not_take_yet(
    cluster: Any, distillery: Any
) -> None:
    metadata = cluster.job()["metadata"]
    early = {"distillery.dev/suspend-requested-at": "2100-01-01T00:00:00Z"}
    cluster.job(metadata={**metadata, "annotations": early})
    distillery("cancel", "tiny", "--kubeconfig", cluster.kubeconfig)
    (patch,) = patches(cluster)
    assert control_of(patch["metadata"]["annotations"], False, {}, time.time()).cancelled


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_a_rerun_names_its_stage(stage: str, cluster: Any, distillery: Any) -> None:
    cluster.job()
    assert distillery("rerun", "tiny", stage, "--kubeconfig", cluster.kubeconfig).code == 0
    annotations = patches(cluster)[0]["metadata"]["annotations"]
    assert list(control_of(annotations, False, {}, time.time()).reruns) == [stage]


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
        handled = dict(control_of(annotations, False, {}, time.time()).handled)
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


def ended(phase: str, condition: str, reason: str) -> dict[str, Any]:
    told = {
        "type": condition,
        "status": "True",
        "reason": reason,
        "message": "",
        "lastTransitionTime": EARLIER,
    }
    return {"observedGeneration": 1, "phase": phase, "conditions": [told]}


SUCCEEDED = ended("Succeeded", "Ready", "GatesPassed")
FAILED = ended("Failed", "Stalled", "Diverged")
CANCELLED = ended("Stopped", "Stalled", "Cancelled")
GATES_FAILED = ended("GatesFailed", "Stalled", "GateFailed")
INVALID = ended("Failed", "Stalled", "InvalidSpec")
REPAIRS = {
    "suspend": "to hold its next edit back, write suspend: true into that edit's spec",
    "cancel": "to remove it: kubectl delete distillationjob tiny",
    "retry": "edit it, or make a result anew: distillery rerun tiny STAGE",
}


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        *((verb, status) for verb in ("suspend", "cancel") for status in (SUCCEEDED, FAILED, CANCELLED)),
        *(("retry", status) for status in (SUCCEEDED, GATES_FAILED)),
    ],
)
def test_a_job_that_has_ended_is_not_asked_for_what_would_strike_later(
    verb: str, status: dict[str, Any], cluster: Any, distillery: Any
) -> None:
    cluster.job(status=status)
    done = distillery(verb, "tiny", "--kubeconfig", cluster.kubeconfig)
    flags = "" if verb == "suspend" else f" -n team-a --kubeconfig {cluster.kubeconfig}"
    why = f"tiny has ended ({status['phase']}): nothing to {verb}"
    assert (done.code, done.out, done.err) == (2, "", f"error: {why} → {REPAIRS[verb]}{flags}\n")
    assert patches(cluster) == []


@pytest.mark.parametrize("request_", ["retry-requested-at", "rerun-requested-at"])
def test_a_job_that_was_just_asked_to_go_on_has_not_ended(
    request_: str, cluster: Any, distillery: Any
) -> None:
    value = f"{EARLIER}/student" if request_.startswith("rerun") else EARLIER
    metadata = {**cluster.job()["metadata"], "annotations": {f"distillery.dev/{request_}": value}}
    cluster.job(metadata=metadata, status=FAILED)
    assert distillery("cancel", "tiny", "--kubeconfig", cluster.kubeconfig).code == 0


@pytest.mark.parametrize("verb", ["suspend", "cancel"])
def test_a_job_that_waits_for_a_mended_profile_has_not_ended(
    verb: str, cluster: Any, distillery: Any
) -> None:
    cluster.job(status=ended("Failed", "Stalled", "ProfileViolated"))
    assert distillery(verb, "tiny", "--kubeconfig", cluster.kubeconfig).code == 0


def test_a_job_that_was_edited_after_its_end_can_be_cancelled(cluster: Any, distillery: Any) -> None:
    metadata = {**cluster.job()["metadata"], "generation": 2}
    cluster.job(metadata=metadata, status=SUCCEEDED)
    assert distillery("cancel", "tiny", "--kubeconfig", cluster.kubeconfig).code == 0


RUNNING = {"stages": [{"name": "dataset", "state": "Running", "attempt": 1}]}
NOTES: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "resume what runs": ("resume", RUNNING, {}, "tiny is not suspended: nothing to resume"),
    "resume what has a deadline": (
        "resume",
        RUNNING,
        {"activeDeadlineSeconds": 60},
        "tiny is not suspended: only its activeDeadlineSeconds count anew",
    ),
    "retry what runs": ("retry", RUNNING, {}, "nothing of tiny has failed: only its profile is read anew"),
    "retry a wrong spec": ("retry", INVALID, {}, "the spec of tiny is wrong: only an edit helps"),
    "retry a failure": ("retry", FAILED, {}, ""),
    "retry a cancellation": ("retry", CANCELLED, {}, ""),
    "retry a second attempt": ("retry", {"stages": [{"name": "dataset", "attempt": 2}]}, {}, ""),
    "suspend what runs": ("suspend", RUNNING, {}, ""),
}


@pytest.mark.parametrize("name", NOTES)
def test_a_request_without_effect_is_sent_with_a_note(name: str, cluster: Any, distillery: Any) -> None:
    verb, status, spec, note = NOTES[name]
    cluster.job(status=status, spec=spec)
    done = distillery(verb, "tiny", "--kubeconfig", cluster.kubeconfig)
    assert (done.code, done.err) == (0, f"note: {note}\n" if note else "")
    assert len(patches(cluster)) == 1


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

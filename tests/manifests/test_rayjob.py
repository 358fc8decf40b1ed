from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from distillery.errors import Problem, SpecError
from distillery.manifests.configmap import assignment_map
from distillery.manifests.metadata import DIGEST_ANNOTATION
from distillery.manifests.rayjob import ENTRYPOINT, rayjob, render_problems
from distillery.manifests.sizing import gpus_in
from distillery.stages.assignment import Assignment
from distillery.stages.stage import STAGE_NAMES
from manifests.rendering import (
    CASES,
    FULL,
    GPU,
    PLAIN,
    REF,
    SPEC,
    STORAGE,
    Case,
    make_assignment,
    make_profile,
    make_spec,
    name_of,
)

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
STUDENT = Case("student", "student", {"replicas": 3})


def groups(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    cluster = manifest["spec"]["rayClusterSpec"]
    yield "head", cluster["headGroupSpec"]
    yield from (("worker", group) for group in cluster["workerGroupSpecs"])


def container(group: dict[str, Any]) -> dict[str, Any]:
    [only] = group["template"]["spec"]["containers"]
    return dict(only)


def secret_names(manifest: dict[str, Any]) -> dict[str, list[str]]:
    """Secret/key by group; ? marks an optional one."""
    return {
        role: [
            f"{ref['name']}/{ref['key']}" + "?" * ref.get("optional", False)
            for entry in container(group)["env"]
            if (ref := entry.get("valueFrom", {}).get("secretKeyRef"))
        ]
        for role, group in groups(manifest)
    }


@every_case
def test_attempts_are_the_operators_and_suspension_is_the_queues(case: Case) -> None:
    spec = case.render()["spec"]
    del spec["rayClusterSpec"]
    assert spec == {
        "submissionMode": "HTTPMode",
        "entrypoint": "python -m distillery.worker",
        "backoffLimit": 0,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 0,
    }


@every_case
def test_ray_is_protected_by_a_token_and_never_scales_itself(case: Case) -> None:
    cluster = case.render()["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == "2.60.0"
    assert set(cluster) == {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == group["maxReplicas"] == group["replicas"]
        assert group["groupName"] != "head", "Kueue keeps that name for the head"


@every_case
def test_only_the_head_has_a_token_and_the_assignment(case: Case) -> None:
    for role, group in groups(case.render()):
        spec = group["template"]["spec"]
        assert spec["automountServiceAccountToken"] is (role == "head")
        paths = [mount["mountPath"] for mount in container(group)["volumeMounts"]]
        assert ("/etc/distillery" in paths) is (role == "head")


@every_case
def test_every_mount_has_its_volume_and_no_path_or_variable_is_given_twice(case: Case) -> None:
    for _, group in groups(case.render()):
        volumes = [volume["name"] for volume in group["template"]["spec"]["volumes"]]
        mounts, env = container(group)["volumeMounts"], [entry["name"] for entry in container(group)["env"]]
        assert {mount["name"] for mount in mounts} == set(volumes)
        assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
        assert (len(set(volumes)), len(set(env))) == (len(volumes), len(env))


@every_case
def test_pods_are_found_by_the_labels_of_their_job_and_attempt(case: Case) -> None:
    manifest = case.render()
    want = {
        "app.kubernetes.io/managed-by": "distillery",
        "distillery.dev/job": REF.name,
        "distillery.dev/job-uid": REF.uid,
        "distillery.dev/stage": case.stage,
        "distillery.dev/attempt": "1",
    }
    for labels in [manifest["metadata"]["labels"]] + [
        group["template"]["metadata"]["labels"] for _, group in groups(manifest)
    ]:
        assert want.items() <= labels.items()


def test_queue_labels_lie_on_the_rayjob_only_and_cannot_replace_ours() -> None:
    profile = make_profile(queueLabels={"kueue.x-k8s.io/queue-name": "batch", "distillery.dev/stage": "x"})
    manifest = Case("dataset", "dataset", profile=profile).render()
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "batch"
    assert manifest["metadata"]["labels"]["distillery.dev/stage"] == "dataset"
    for _, group in groups(manifest):
        assert "kueue.x-k8s.io/queue-name" not in group["template"]["metadata"]["labels"]


def test_a_head_with_worker_pods_offers_ray_no_cpu() -> None:
    alone = Case("student", "student").render()
    assert [group["rayStartParams"]["num-cpus"] for _, group in groups(alone)] == ["1"]
    assert [group["rayStartParams"]["num-cpus"] for _, group in groups(STUDENT.render())] == ["0", "1"]


def test_workers_get_what_the_spec_asks_for_and_no_limit_of_their_cpu() -> None:
    manifest = Case("student", "student", {"replicas": 4, "resources": GPU}, FULL).render()
    [_, (_, workers)] = groups(manifest)
    assert workers["replicas"] == 4
    limits = {name: amount for name, amount in GPU.items() if name != "cpu"}
    assert container(workers)["resources"] == {"requests": GPU, "limits": limits}
    assert gpus_in(manifest) == 4


def test_a_gpu_that_the_profile_gives_to_heads_counts() -> None:
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    pods = {"evaluation": {"head": {"spec": {"containers": [gpu]}}}}
    manifest = Case("evaluation", "evaluation", profile=make_profile(pods=pods)).render()
    assert gpus_in(manifest) == 1
    [(_, head)] = groups(manifest)
    assert container(head)["resources"]["requests"]["nvidia.com/gpu"] == "1"


def test_pods_see_the_secrets_that_their_stage_needs_and_no_other() -> None:
    storage = [
        "s3-credentials/AWS_ACCESS_KEY_ID",
        "s3-credentials/AWS_SECRET_ACCESS_KEY",
        "s3-credentials/AWS_SESSION_TOKEN?",
    ]
    source = [name.replace("s3-credentials", "log-reader") for name in storage]
    key = ["teacher/api-key"]
    want = {
        "dataset": storage + source + key,
        "teacher": storage + key,
        "filter": storage,
        "student": storage,
        "evaluation": storage + key,
    }
    assert {stage: secret_names(Case(stage, stage).render())["head"] for stage in STAGE_NAMES} == want
    for stage in ("teacher", "student"):
        names = secret_names(Case(stage, stage, {"replicas": 2}).render())
        assert names["worker"] == names["head"]


def test_two_references_that_become_one_variable_are_a_problem_of_the_spec() -> None:
    endpoint = {"url": "https://api.example.com/v1"}
    secret = {"name": "s3.credentials-aws".replace(".", "-"), "key": "ACCESS_KEY_ID"}
    spec = make_spec(teacher={"endpoint": {**endpoint, "apiKeySecret": secret}})
    with pytest.raises(SpecError) as caught:
        rayjob(REF, name_of("teacher"), make_assignment("teacher", spec), spec, PLAIN)
    assert caught.value.problems == (
        Problem(
            "spec.teacher.endpoint.apiKeySecret",
            "key ACCESS_KEY_ID of Secret s3-credentials-aws and key AWS_ACCESS_KEY_ID of Secret s3-credentials "
            "(spec.storage.credentialsSecret) would both be DISTILLERY_SECRET_S3_CREDENTIALS_AWS_ACCESS_KEY_ID",
            "rename one of the Secrets or keys",
        ),
    )


def test_one_key_that_two_fields_name_is_no_problem_and_is_given_once() -> None:
    source = {"uri": "s3://logs/*.jsonl", "credentialsSecret": "s3-credentials"}
    spec = make_spec(dataset={"sources": [source]}, teacher={"endpoint": SPEC["teacher"]["endpoint"]})
    assignment = make_assignment("dataset", spec)
    assert render_problems(spec, PLAIN, assignment) == []
    names = secret_names(rayjob(REF, name_of("dataset"), assignment, spec, PLAIN))["head"]
    assert sorted(names) == sorted(set(names))
    assert len(names) == 4


def test_the_existing_account_of_the_profile_replaces_the_jobs_own() -> None:
    for case, want in ((Case("a", "filter"), "ticket-routing-5c0f7a1e"), (CASES[-1], "distiller")):
        for _, group in groups(case.render()):
            assert group["template"]["spec"]["serviceAccountName"] == want


def test_the_digest_tells_attempts_apart_by_what_the_worker_is_told() -> None:
    spec = make_spec()
    first = make_assignment("filter", spec)
    moved = first.model_copy(update={"storage": first.storage.model_copy(update={"uri": "s3://other"})})

    def digest_of(assignment: Assignment, **profile: Any) -> str:
        manifest = rayjob(REF, name_of("filter"), assignment, spec, make_profile(**profile))
        return str(manifest["metadata"]["annotations"][DIGEST_ANNOTATION])

    assert digest_of(first) == digest_of(first, image="example.com/other:2")
    assert digest_of(first) != digest_of(moved)
    mapped = assignment_map(REF, name_of("filter"), first)
    assert mapped["metadata"]["annotations"][DIGEST_ANNOTATION] == digest_of(first)


def test_the_pod_reads_the_assignment_that_the_operator_wrote() -> None:
    assignment = STUDENT.assignment
    mapped = assignment_map(REF, name_of("student"), assignment)
    [(_, head), _] = groups(STUDENT.render())
    volumes = {volume["name"]: volume for volume in head["template"]["spec"]["volumes"]}
    mounts = {mount["name"]: mount for mount in container(head)["volumeMounts"]}
    env = {entry["name"]: entry.get("value") for entry in container(head)["env"]}
    assert volumes["distillery-assignment"]["configMap"]["name"] == mapped["metadata"]["name"]
    folder = mounts["distillery-assignment"]["mountPath"]
    [key] = mapped["data"]
    assert env["DISTILLERY_ASSIGNMENT"] == f"{folder}/{key}"
    assert Assignment.model_validate_json(mapped["data"][key]) == assignment


@every_case
def test_nothing_of_the_spec_reaches_the_command_line(case: Case) -> None:
    manifest = case.render()
    assert manifest["spec"]["entrypoint"] == ENTRYPOINT
    for _, group in groups(manifest):
        assert "command" not in container(group)
        assert "args" not in container(group)
    assert "organisation/model" not in json.dumps(manifest)


def test_storage_without_a_secret_leaves_credentials_to_the_account() -> None:
    spec = make_spec(dataset={"sources": [{"uri": "s3://logs/*.jsonl"}]})
    assignment = make_assignment("filter", spec).model_copy(
        update={"storage": make_profile(storage={"uri": STORAGE["uri"]}).storage}
    )
    assert secret_names(rayjob(REF, name_of("filter"), assignment, spec, PLAIN)) == {"head": []}

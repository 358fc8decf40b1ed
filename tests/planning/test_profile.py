"""What a profile sets, what it does not allow, and that a snapshot of it says the same."""

from __future__ import annotations

from typing import Any

import pytest

from api.corpus import cases
from distillery.api.profiles import validate_profile
from distillery.api.v1alpha1.common import Storage
from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.api.v1alpha1.distillation_profile import DistillationProfile
from distillery.api.validation import validate_job
from distillery.errors import Problem
from distillery.planning.profile import (
    BuiltinProfile,
    Profile,
    effective_storage,
    resolve,
    violations,
)

BUILTIN = BuiltinProfile(image="worker:0.1.0", ray_version="2.60.0")
JOB: dict[str, Any] = cases("jobs")[0].body


def make_profile(**spec: object) -> DistillationProfile:
    return validate_profile(
        {
            "apiVersion": "distillery.dev/v1alpha1",
            "kind": "DistillationProfile",
            "metadata": {"name": "standard"},
            "spec": spec,
        }
    )


def make_spec(**sections: dict[str, Any]) -> DistillationJobSpec:
    spec = {name: {**JOB["spec"].get(name, {}), **part} for name, part in sections.items()}
    return validate_job({**JOB, "spec": {**JOB["spec"], **spec}}).spec


def judged(spec: DistillationJobSpec, **profile: object) -> list[Problem]:
    return violations(spec, resolve(make_profile(**profile), BUILTIN))


def test_without_a_profile_the_built_in_settings_apply_and_everything_is_allowed() -> None:
    profile = resolve(None, BUILTIN)
    assert profile == Profile(image="worker:0.1.0", ray_version="2.60.0")
    assert violations(make_spec(student={"workers": {"replicas": 32}}), profile) == []


def test_a_profile_replaces_what_it_names() -> None:
    profile = make_profile(
        image="other:1",
        imagePullPolicy="Always",
        imagePullSecrets=["registry"],
        serviceAccountName="trainer",
        storage={"uri": "s3://models/x"},
        queueLabels={"kueue.x-k8s.io/queue-name": "gpus"},
        checkpointWindow="1m",
        pendingDeadline="1h30m",
        heartbeatDeadline="90s",
    )
    assert resolve(profile, BUILTIN) == Profile(
        name="standard",
        image="other:1",
        image_pull_policy="Always",
        image_pull_secrets=["registry"],
        ray_version="2.60.0",
        service_account_name="trainer",
        storage=Storage(uri="s3://models/x"),
        queue_labels={"kueue.x-k8s.io/queue-name": "gpus"},
        checkpoint_window_seconds=60,
        pending_deadline_seconds=5400,
        heartbeat_deadline_seconds=90,
    )


@pytest.mark.parametrize(
    "case", [case for case in cases("profiles") if case.kind == "good"], ids=lambda c: c.name
)
def test_a_snapshot_says_what_the_profile_said(case: Any) -> None:
    profile = resolve(validate_profile(case.body), BUILTIN)
    assert Profile.model_validate(profile.to_wire()) == profile


def test_the_job_s_own_storage_wins_over_the_profile_s() -> None:
    profile = resolve(make_profile(storage={"uri": "s3://platform/x"}), BUILTIN)
    assert effective_storage(make_spec(), profile) == Storage(uri="s3://platform/x")
    own = make_spec(storage={"uri": "s3://team/x"})
    assert effective_storage(own, profile) == Storage(uri="s3://team/x")
    assert effective_storage(make_spec(), resolve(None, BUILTIN)) is None


def test_too_many_workers() -> None:
    spec = make_spec(teacher={"workers": {"replicas": 5}}, student={"workers": {"replicas": 4}})
    assert judged(spec, ceilings={"workers": 4}) == [
        Problem(
            "spec.teacher.workers.replicas",
            "5 is more than spec.ceilings.workers of profile standard (4) allows",
            "write at most 4",
        )
    ]


@pytest.mark.parametrize(
    ("most", "message", "repair"),
    [
        (
            7,
            "4 × 2 GPUs are more than spec.ceilings.gpus of profile standard (7) allows",
            "write replicas: 3",
        ),
        (
            1,
            "4 × 2 GPUs are more than spec.ceilings.gpus of profile standard (1) allows",
            "ask for at most 1 GPUs per worker",
        ),
        (0, "4 × 2 GPUs are more than spec.ceilings.gpus of profile standard (0) allows", "remove the GPUs"),
    ],
)
def test_too_many_gpus_of_any_maker(most: int, message: str, repair: str) -> None:
    workers = {"replicas": 4, "resources": {"nvidia.com/gpu": 1, "amd.com/gpu": 1, "cpu": 8}}
    spec = make_spec(student={"workers": workers})
    assert judged(spec, ceilings={"gpus": most}) == [Problem("spec.student.workers", message, repair)]
    assert judged(spec, ceilings={"gpus": 8}) == []


def test_a_ceiling_on_cost_demands_a_budget_below_it() -> None:
    ceilings = {"maxCost": "4.50"}
    path, rule = "spec.budget.maxCost", "spec.ceilings.maxCost of profile standard"
    repair = 'write maxCost: "4.50" or less'
    assert judged(make_spec(), ceilings=ceilings) == [
        Problem(path, f"5.00 is more than {rule} (4.50) allows", repair)
    ]
    unlimited = DistillationJobSpec.model_validate({**JOB["spec"], "budget": {}})
    assert judged(unlimited, ceilings=ceilings) == [Problem(path, f"is required by {rule} (4.50)", repair)]
    assert judged(make_spec(budget={"maxCost": "4.50"}), ceilings=ceilings) == []


def test_a_ceiling_on_rows_demands_a_limit_below_it() -> None:
    ceilings = {"rows": 1000}
    path, rule, repair = (
        "spec.dataset.limit",
        "spec.ceilings.rows of profile standard",
        "write limit: 1000 or less",
    )
    assert judged(make_spec(), ceilings=ceilings) == [Problem(path, f"is required by {rule} (1,000)", repair)]
    assert judged(make_spec(dataset={"limit": 1001}), ceilings=ceilings) == [
        Problem(path, f"1,001 is more than {rule} (1,000) allows", repair)
    ]
    assert judged(make_spec(dataset={"limit": 1000}), ceilings=ceilings) == []


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://api.example.com/v1", True),
        ("https://API.Example.com:8443/v1", True),
        ("https://example.com/v1", False),
        ("https://evil.com/api.example.com", False),
        ("https://api.example.com.evil.com/v1", False),
    ],
)
def test_teachers_are_allowed_by_their_host_alone(url: str, allowed: bool) -> None:
    spec = make_spec(teacher={"endpoint": {"url": url}})
    found = judged(spec, allowed={"teacherHosts": ["*.Example.com", "10.0.0.1"]})
    assert [problem.path for problem in found] == ([] if allowed else ["spec.teacher.endpoint.url"])
    assert [problem.repair for problem in found] == (
        [] if allowed else ["use one of: *.Example.com, 10.0.0.1"]
    )


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ({"hub": "Qwen/Qwen3-0.6B"}, None),
        ({"hub": "qwen/Qwen3-0.6B"}, "spec.student.base.hub"),
        ({"uri": "s3://models/base/v1"}, None),
        ({"uri": "s3://models/../secrets/base"}, "spec.student.base.uri"),
        ({"uri": "s3://elsewhere/base"}, "spec.student.base.uri"),
        ({"architecture": {"model_type": "llama"}}, None),
    ],
)
def test_base_models_are_allowed_by_id_or_address(base: dict[str, object], path: str | None) -> None:
    spec = DistillationJobSpec.model_validate({**JOB["spec"], "student": {"base": base}})
    found = judged(spec, allowed={"baseModels": ["Qwen/*", "s3://models/*"]})
    assert [problem.path for problem in found] == ([] if path is None else [path])
    assert all("allowed.baseModels of profile standard" in problem.message for problem in found)


def test_a_long_list_of_patterns_is_cut() -> None:
    hosts = [f"host{number}.example.org" for number in range(20)]
    repair = judged(make_spec(), allowed={"teacherHosts": hosts})[0].repair
    assert repair == f"use one of: {', '.join(hosts[:8])}, …"


def test_the_default_profile_is_the_annotated_one() -> None:
    data = {"apiVersion": "distillery.dev/v1alpha1", "kind": "DistillationProfile", "spec": {}}
    for value, default in (("true", True), ("false", False), ("yes", False)):
        annotations = {"distillery.dev/is-default-profile": value}
        profile = validate_profile({**data, "metadata": {"name": "a", "annotations": annotations}})
        assert profile.is_default is default
    assert make_profile().is_default is False

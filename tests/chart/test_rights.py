"""What the operator and the tenants may do, as whole values: any right that is added has to be added here too."""

from __future__ import annotations

from typing import Any

import pytest

from chart.rendering import Manifest, needs_helm, of_kind, render

pytestmark = needs_helm

READ = ["get", "list", "watch"]
JOBS = [
    (["distillery.dev"], ["distillationjobs"], READ),
    (["distillery.dev"], ["distillationjobs/status"], ["update"]),
    (["ray.io"], ["rayjobs"], [*READ, "create", "delete"]),
    (["ray.io"], ["rayclusters"], READ),
    ([""], ["pods"], READ),
    ([""], ["configmaps"], [*READ, "create", "update", "patch", "delete"]),
    ([""], ["serviceaccounts"], ["get", "create", "update"]),
    (["rbac.authorization.k8s.io"], ["roles"], ["get", "create", "update"]),
    (["rbac.authorization.k8s.io"], ["rolebindings"], ["get", "create", "update", "delete"]),
    ([""], ["events"], ["create", "patch"]),
]
PROFILES = [(["distillery.dev"], ["distillationprofiles"], READ)]
ELECTION = [(["coordination.k8s.io"], ["leases"], ["get", "create", "update"])]
EDIT = [
    (
        ["distillery.dev"],
        ["distillationjobs"],
        [*READ, "create", "update", "patch", "delete", "deletecollection"],
    )
]
VIEW = [(["distillery.dev"], ["distillationjobs", "distillationjobs/status"], READ)]
EVERYTHING: Manifest = {
    "watchNamespaces": ["support", "sales"],
    "rbac": {"profileReaders": ["system:authenticated"]},
    "tenantNetworkPolicies": {"namespaces": ["support", "sales"]},
    "podMonitor": {"enabled": True},
    "profile": {"create": True, "spec": {"image": "distillery-worker:0.1.0"}},
}


def rules(role: Manifest) -> list[tuple[Any, Any, Any]]:
    assert all(set(rule) == {"apiGroups", "resources", "verbs"} for rule in role["rules"])
    return [(rule["apiGroups"], rule["resources"], rule["verbs"]) for rule in role["rules"]]


def test_the_rights_are_exactly_these() -> None:
    objects = render()
    assert {name: rules(role) for name, role in of_kind(objects, "ClusterRole").items()} == {
        "distillery-jobs": JOBS,
        "distillery-profiles": PROFILES,
        "distillery-edit": EDIT,
        "distillery-view": VIEW,
    }
    assert {name: rules(role) for name, role in of_kind(objects, "Role").items()} == {
        "distillery-election": ELECTION
    }
    assert of_kind(objects, "Role")["distillery-election"]["metadata"]["namespace"] == "distillery-system"


def test_only_the_operator_is_given_them() -> None:
    objects = render()
    account = [{"kind": "ServiceAccount", "name": "distillery", "namespace": "distillery-system"}]
    bound = {**of_kind(objects, "ClusterRoleBinding"), **of_kind(objects, "RoleBinding")}
    assert {name: (item["roleRef"]["name"], item["subjects"]) for name, item in bound.items()} == {
        name: (name, account) for name in ("distillery-jobs", "distillery-profiles", "distillery-election")
    }


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_no_rule_touches_secrets_or_lets_anyone_widen_rights(values: Manifest) -> None:
    roles = [item for item in render(values) if item["kind"] in ("Role", "ClusterRole")]
    assert len(roles) >= 4
    for role in roles:
        for rule in role["rules"]:
            assert not {"*", "secrets", "pods/exec", "customresourcedefinitions"} & set(rule["resources"])
            assert not {"*", "escalate", "bind", "impersonate"} & set(rule["verbs"])
            assert "*" not in rule["apiGroups"]


def test_the_rights_of_a_job_are_a_part_of_the_operators() -> None:
    """Without escalate and bind the API server lets the operator create a job's Role only if this holds."""
    held = {
        (group, resource, verb)
        for groups, resources, verbs in JOBS
        for group in groups
        for resource in resources
        for verb in verbs
    }
    assert {("", "configmaps", "get"), ("", "configmaps", "patch")} <= held


def test_with_watched_namespaces_the_rights_inside_namespaces_are_given_in_these_only() -> None:
    objects = render({"watchNamespaces": ["support", "sales"]})
    assert set(of_kind(objects, "ClusterRoleBinding")) == {"distillery-profiles"}
    places = [
        (item["metadata"]["namespace"], item["roleRef"])
        for item in objects
        if item["kind"] == "RoleBinding" and item["metadata"]["name"] == "distillery-jobs"
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "distillery-jobs"}
    assert places == [("support", role), ("sales", role)]


def test_tenants_get_jobs_with_the_built_in_roles() -> None:
    roles = of_kind(render(), "ClusterRole")
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    aggregated = {
        name: sorted(
            label.removeprefix(prefix) for label in role["metadata"]["labels"] if label.startswith(prefix)
        )
        for name, role in roles.items()
    }
    assert aggregated == {
        "distillery-jobs": [],
        "distillery-profiles": [],
        "distillery-edit": ["admin", "edit"],
        "distillery-view": ["view"],
    }
    assert "distillery-edit" not in of_kind(render({"rbac": {"aggregate": False}}), "ClusterRole")

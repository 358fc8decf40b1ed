from __future__ import annotations

import json

from distillery.manifests import configmap, rbac
from distillery.manifests.names import account_name, attempt_name, record_name, reports_name, snapshot_name
from distillery.planning.profile import Profile
from manifests.rendering import FULL, PLAIN, REF, make_assignment, make_spec, name_of


def test_a_job_may_read_its_record_and_write_its_reports_and_nothing_else() -> None:
    assert rbac.role(REF)["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [record_name(REF)],
            "verbs": ["get"],
        },
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [reports_name(REF)],
            "verbs": ["get", "patch"],
        },
    ]


def test_the_binding_reaches_the_account_under_which_the_pods_run() -> None:
    for profile, account in ((PLAIN, account_name(REF)), (FULL, "distiller")):
        binding = rbac.role_binding(REF, rbac.account_of(REF, profile))
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "support"}]
        assert binding["roleRef"]["name"] == rbac.role(REF)["metadata"]["name"]


def test_a_pod_of_the_account_gets_no_token_unless_it_says_so() -> None:
    assert rbac.service_account(REF)["automountServiceAccountToken"] is False


def test_every_child_goes_with_its_job_and_never_holds_it_up() -> None:
    assignment = make_assignment("filter", make_spec())
    children = [
        configmap.record_map(REF),
        configmap.reports_map(REF),
        configmap.snapshot_map(REF, snapshot_name(REF, 1), PLAIN, {"dataset": "0a1b"}),
        configmap.assignment_map(REF, name_of("filter"), assignment),
        rbac.service_account(REF),
        rbac.role(REF),
        rbac.role_binding(REF, "default"),
    ]
    for child in children:
        metadata = child["metadata"]
        assert metadata["namespace"] == "support"
        assert metadata["labels"]["distillery.dev/job-uid"] == REF.uid
        assert metadata["ownerReferences"] == [
            {
                "apiVersion": "distillery.dev/v1alpha1",
                "kind": "DistillationJob",
                "name": REF.name,
                "uid": REF.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]


def test_record_and_reports_start_empty_and_can_change() -> None:
    for name, child in (
        (record_name(REF), configmap.record_map(REF)),
        (reports_name(REF), configmap.reports_map(REF)),
    ):
        assert (child["metadata"]["name"], child["data"], child.get("immutable")) == (name, {}, None)


def test_a_snapshot_gives_the_profile_back_and_cannot_change() -> None:
    child = configmap.snapshot_map(REF, snapshot_name(REF, 3), FULL, {"dataset": "0a1b"})
    assert child["immutable"] is True
    assert Profile.model_validate_json(child["data"]["profile.json"]) == FULL


def test_an_assignment_carries_the_name_of_its_attempt_and_cannot_change() -> None:
    name = attempt_name(REF, "student", 2, None)
    child = configmap.assignment_map(REF, name, make_assignment("student", make_spec(), 2))
    assert (child["metadata"]["name"], child["immutable"]) == (name, True)
    assert child["metadata"]["labels"]["distillery.dev/attempt"] == "2"
    assert json.loads(child["data"]["assignment.json"])["attempt"] == 2

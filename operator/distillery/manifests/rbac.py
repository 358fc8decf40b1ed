"""What a job's head pods may do: read the record, write the reports, nothing else. Pure.

The operator can grant this without `escalate` or `bind`, since it holds these rights itself.
"""

from __future__ import annotations

from distillery.manifests.metadata import Manifest, child_metadata
from distillery.manifests.names import account_name, binding_name, record_name, reports_name
from distillery.planning.profile import Profile
from distillery.planning.record import JobRef

RBAC = "rbac.authorization.k8s.io"


def account_of(ref: JobRef, profile: Profile) -> str:
    """Return the ServiceAccount of the job's pods: the profile's existing one, else the job's own."""
    return profile.service_account_name or account_name(ref)


def service_account(ref: JobRef) -> Manifest:
    """Return the job's own ServiceAccount; pods mount its token only where they say so."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": child_metadata(ref, account_name(ref)),
        "automountServiceAccountToken": False,
    }


def role(ref: JobRef) -> Manifest:
    """Return the rights of the job's workers, each on one named ConfigMap."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "Role",
        "metadata": child_metadata(ref, account_name(ref)),
        "rules": [_rule(record_name(ref), "get"), _rule(reports_name(ref), "get", "patch")],
    }


def role_binding(ref: JobRef, account: str) -> Manifest:
    """Return what gives the job's Role to a ServiceAccount of its namespace."""
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": child_metadata(ref, binding_name(ref, account)),
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": account_name(ref)},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": ref.namespace}],
    }


def _rule(name: str, *verbs: str) -> Manifest:
    return {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": list(verbs)}

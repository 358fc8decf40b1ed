"""What a condition says of a call that was refused: what was tried, the API server's words, the repair."""

from __future__ import annotations

import pytest

from distillery.controller.explaining import explained, is_lasting, reason_of
from distillery.errors import TransientError
from distillery.kube.errors import Exists, Expired, Forbidden, NotFound, Stale, Unavailable, Unusable

CORE = "/api/v1/namespaces/support"
OURS = "/apis/distillery.dev/v1alpha1"
RAY = "/apis/ray.io/v1/namespaces/support"

EXPLAINED: dict[str, tuple[Exception, str, bool]] = {
    "quota": (
        Forbidden(f"create {CORE}/configmaps/x-record", "exceeded quota: team"),
        "cannot create ConfigMap x-record: exceeded quota: team "
        "→ raise the quota of the namespace, or delete what is not needed",
        True,
    ),
    "right": (
        Forbidden(f"update {CORE}/configmaps/x", 'User "o" cannot update resource "configmaps"'),
        'cannot write ConfigMap x: User "o" cannot update resource "configmaps" '
        "→ give the operator this right: the chart's roles have it",
        True,
    ),
    "policy": (
        Forbidden(f"create {RAY}/rayjobs/x", "admission webhook denied the request"),
        "cannot create RayJob x: admission webhook denied the request",
        True,
    ),
    "no KubeRay": (
        NotFound(f"create {RAY}/rayjobs/x", "the server could not find the requested resource", True),
        "cannot create RayJob x: this kind is not installed → install KubeRay",
        True,
    ),
    "no profiles": (
        NotFound(
            f"list {OURS}/distillationprofiles", "the server could not find the requested resource", True
        ),
        "cannot list distillationprofiles: this kind is not installed → install the CRDs of this release",
        True,
    ),
    "namespace gone": (
        NotFound(f"create {CORE}/configmaps/x", 'namespaces "support" not found'),
        'cannot create ConfigMap x: namespaces "support" not found',
        False,
    ),
    "immutable": (
        Unusable(
            f"update {CORE}/configmaps/x", "data: Forbidden: field is immutable when `immutable` is set"
        ),
        "cannot write ConfigMap x: data: Forbidden: field is immutable when `immutable` is set "
        "→ delete that object: it was made by somebody else",
        True,
    ),
    "status": (
        Unavailable(
            f"update {OURS}/namespaces/support/distillationjobs/x/status", "500 etcdserver: timed out"
        ),
        "cannot write DistillationJob x, status: 500 etcdserver: timed out",
        False,
    ),
    "profile": (
        Unavailable(f"get {OURS}/distillationprofiles/gold", "429 slow down", 5.0),
        "cannot read DistillationProfile gold: 429 slow down",
        False,
    ),
    "delete": (Stale(f"delete {CORE}/configmaps/x"), f"delete {CORE}/configmaps/x: Stale", False),
    "exists": (
        Exists(f"create {CORE}/serviceaccounts/x", "already exists"),
        "cannot create ServiceAccount x: already exists",
        False,
    ),
    "expired": (Expired(f"list {CORE}/pods", "too old"), "cannot list pods: too old", False),
    "ours": (TransientError("something of x is still there"), "something of x is still there", False),
    "timeout": (TimeoutError(), "TimeoutError", False),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_an_answer_is_explained(name: str) -> None:
    error, words, lasting = EXPLAINED[name]
    assert (explained(error), is_lasting(error), reason_of(error)) == (words, lasting, "ReconcileError")


def test_a_bug_says_nothing_that_might_be_secret() -> None:
    error = ValueError("api-key sk-123")
    assert (is_lasting(error), reason_of(error)) == (False, "InternalError")
    assert (
        explained(error) == "a bug in the operator (ValueError): its log has the traceback; it is tried again"
    )

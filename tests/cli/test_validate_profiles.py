"""`distillery validate` on a DistillationProfile: the same form as for a job, the same judgement as the operator's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

PROFILE = """apiVersion: distillery.dev/v1alpha1
kind: DistillationProfile
metadata: {name: gpu}
spec:
  image: registry.example.com/worker:0.1.0
  pods:
    default:
      head:
        spec:
          nodeSelector: {pool: cpu}
  ceilings: {maxCost: "500.00"}
"""


def write(edit: tuple[str, str] = ("", "")) -> None:
    Path("profile.yaml").write_text(PROFILE.replace(*edit) if edit[0] else PROFILE)


def test_a_profile_is_valid_in_the_words_of_a_job(distillery: Any) -> None:
    write()
    done = distillery("validate", "profile.yaml")
    assert (done.code, done.out, done.err) == (
        0,
        "profile.yaml: DistillationProfile gpu is valid\n",
        "",
    )


def test_a_valid_profile_comes_whole_for_programs(distillery: Any) -> None:
    write()
    done = distillery("validate", "profile.yaml", "-o", "json", "--set", "spec.ceilings.maxCost=20")
    document = json.loads(done.out)
    assert (document["metadata"]["name"], document["spec"]["ceilings"]) == ("gpu", {"maxCost": "20"})


WRONG = {
    "a field that does not exist": (
        ("ceilings: {maxCost", "ceilings: {maxcost"),
        ["profile.yaml:11: spec.ceilings.maxcost: there is no such field → did you mean 'maxCost'?"],
    ),
    "a rule of the spec": (
        ("  ceilings:", "  pendingDeadline: 5s\n  ceilings:"),
        [
            "profile.yaml:11: spec.pendingDeadline: 5s is too short: every attempt would be given up → "
            "write at least 20s"
        ],
    ),
    "templates, in the order of the file": (
        (
            "nodeSelector: {pool: cpu}",
            "hostNetwork: true\n          tolerations: [gpu]\n      worker: {metadata: {labels: {ray.io/x: y}}}",
        ),
        [
            "profile.yaml:10: spec.pods.default.head.spec.hostNetwork: is not allowed in a profile → remove it; "
            "allowed are affinity, containers, dnsConfig, dnsPolicy, hostAliases, nodeSelector, "
            "priorityClassName, runtimeClassName, schedulerName, tolerations, topologySpreadConstraints, volumes",
            "profile.yaml:11: spec.pods.default.head.spec.tolerations[0]: is not a mapping → correct it",
            "profile.yaml:12: spec.pods.default.worker.metadata.labels.ray.io/x: is reserved → remove it",
        ],
    ),
    "a key that is no path": (
        ("nodeSelector: {pool: cpu}", '"a[b": 1\n          nodeName: x'),
        [
            "profile.yaml:9: spec.pods.default.head.spec.a[b: is not allowed in a profile → remove it; "
            "allowed are affinity, containers, dnsConfig, dnsPolicy, hostAliases, nodeSelector, "
            "priorityClassName, runtimeClassName, schedulerName, tolerations, topologySpreadConstraints, volumes",
            "profile.yaml:11: spec.pods.default.head.spec.nodeName: is not allowed in a profile → remove it; "
            "allowed are affinity, containers, dnsConfig, dnsPolicy, hostAliases, nodeSelector, "
            "priorityClassName, runtimeClassName, schedulerName, tolerations, topologySpreadConstraints, volumes",
        ],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_operator_would_refuse_is_told_with_its_line(name: str, distillery: Any) -> None:
    edit, problems = WRONG[name]
    write(edit)
    done = distillery("validate", "profile.yaml")
    assert (done.code, done.out, done.err.splitlines()) == (
        2,
        "",
        [f"error: {problem}" for problem in problems],
    )


def test_a_wrong_override_of_a_profile_is_named_as_one(distillery: Any) -> None:
    write()
    done = distillery("validate", "profile.yaml", "--set", "spec.heartbeatDeadline=1s", "--set", "spec..x=1")
    short = "spec.heartbeatDeadline: 1s is too short: every attempt would be given up → write at least 20s"
    assert done.code == 2
    assert done.err.splitlines()[0] == f"error: --set: {short}"
    assert done.err.splitlines()[1].startswith("error: --set spec..x: this is no field path → ")


@pytest.mark.parametrize("verb", ["run", "plan", "estimate", "submit"])
def test_a_profile_where_a_job_is_wanted_is_one_message(verb: str, distillery: Any) -> None:
    write()
    done = distillery(verb, "profile.yaml")
    repair = "check it with `distillery validate`, create it with `kubectl apply`"
    assert (done.code, done.out, done.err) == (
        2,
        "",
        f"error: profile.yaml: kind: DistillationProfile is no job → {repair}\n",
    )

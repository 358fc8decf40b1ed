from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillery.errors import Problem, SpecError
from distillery.manifests.rayjob import render_problems
from distillery.manifests.templates import (
    CONTAINER_FIELDS,
    POD_FIELDS,
    merge_templates,
    mount_problems,
    template_problems,
)
from manifests.rendering import Case, make_profile
from manifests.restricted import offences

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def with_spec(**spec: Any) -> dict[str, Any]:
    return {"spec": spec}


def with_container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [fields]}}


def problems(template: Any) -> list[str]:
    return [str(problem) for problem in template_problems(template, "head", "head")]


def test_mappings_merge_key_by_key_and_the_stage_wins() -> None:
    merged = merge_templates(
        "head",
        with_spec(nodeSelector={"pool": "general", "zone": "a"}, priorityClassName="low"),
        with_spec(nodeSelector={"pool": "gpu"}),
    )
    assert merged["spec"]["nodeSelector"] == {"pool": "gpu", "zone": "a"}
    assert merged["spec"]["priorityClassName"] == "low"


def test_tolerations_volumes_variables_and_mounts_add_up_and_the_later_of_two_stays() -> None:
    batch, gpu = {"key": "batch", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}
    first, second = {"name": "hub", "emptyDir": {}}, {"name": "hub", "secret": {"secretName": "s"}}
    default = with_container(env=[{"name": "A", "value": "1"}])
    stage = with_container(env=[{"name": "A", "value": "2"}])
    default["spec"] |= {"tolerations": [batch], "volumes": [first]}
    stage["spec"] |= {"tolerations": [gpu, batch], "volumes": [second]}
    merged = merge_templates("worker", default, stage)
    assert merged["spec"] == {
        "tolerations": [gpu, batch],
        "volumes": [second],
        "containers": [{"name": "ray-worker", "env": [{"name": "A", "value": "2"}]}],
    }


def test_other_lists_replace_each_other() -> None:
    one, two = [{"maxSkew": 1}], [{"maxSkew": 2}]
    merged = merge_templates(
        "head", with_spec(topologySpreadConstraints=one), with_spec(topologySpreadConstraints=two)
    )
    assert merged["spec"]["topologySpreadConstraints"] == two


def test_null_takes_out_what_the_default_sets() -> None:
    merged = merge_templates(
        "head", with_spec(nodeSelector={"pool": "a"}, dnsPolicy="Default"), with_spec(nodeSelector=None)
    )
    assert merged["spec"] == {"dnsPolicy": "Default", "containers": [{"name": "ray-head"}]}


@pytest.mark.parametrize(
    ("template", "want"),
    [
        (with_spec(hostNetwork=True), "head.spec.hostNetwork: is not allowed in a profile"),
        (
            with_spec(securityContext={"runAsUser": 0}),
            "head.spec.securityContext: is not allowed in a profile",
        ),
        (with_spec(serviceAccountName="admin"), "head.spec.serviceAccountName: is not allowed in a profile"),
        (with_spec(restartPolicy="Always"), "head.spec.restartPolicy: is not allowed in a profile"),
        (with_spec(initContainers=[{}]), "head.spec.initContainers: is not allowed in a profile"),
        (
            with_spec(volumes=[{"name": "disk", "hostPath": {"path": "/"}}]),
            "head.spec.volumes[0].hostPath: is not allowed by restricted Pod Security",
        ),
        (with_container(image="other"), "head.spec.containers[0].image: is not allowed in a profile"),
        (with_container(command=["sh"]), "head.spec.containers[0].command: is not allowed in a profile"),
        (
            with_container(securityContext={"privileged": True}),
            "head.spec.containers[0].securityContext: is not allowed in a profile",
        ),
        (with_container(name="sidecar"), "head.spec.containers[0]: is not the container that can be shaped"),
        (
            with_container(env=[{"name": "RAY_AUTH_MODE", "value": ""}]),
            "head.spec.containers[0].env[0].name: RAY_AUTH_MODE is reserved",
        ),
        (with_container(env=[{"value": "1"}]), "head.spec.containers[0].env[0]: has no name"),
        (
            with_container(resources={"requests": {"memory": "much"}}),
            "head.spec.containers[0].resources.requests.memory: 'much' is not a quantity such as 500m, 2 or 1.5Gi",
        ),
        (
            {"metadata": {"annotations": {"ray.io/overwrite-container-cmd": "true"}}},
            "head.metadata.annotations.ray.io/overwrite-container-cmd: is reserved",
        ),
        ({"metadata": {"labels": {"team": 1}}}, "head.metadata.labels.team: is not a text"),
        (with_spec(nodeSelector=["pool"]), "head.spec.nodeSelector: is not a mapping"),
        ({"spec": "pods"}, "head.spec: is not a mapping"),
        (with_spec(tolerations=["all"]), "head.spec.tolerations[0]: is not a mapping"),
    ],
)
def test_what_a_template_may_not_say_is_named_with_its_field(template: dict[str, Any], want: str) -> None:
    [problem] = problems(template)
    assert problem.startswith(f"{want} → ")


def test_a_mount_without_a_volume_is_named_before_kuberay_fails_on_it() -> None:
    pods = {"filter": {"head": with_container(volumeMounts=[{"name": "hub", "mountPath": "/hub"}])}}
    with pytest.raises(SpecError) as caught:
        Case("filter", "filter", profile=make_profile(pods=pods)).render()
    field = "spec.pods.filter.head.spec.containers[0].volumeMounts[0].name"
    assert caught.value.problems == (
        Problem(field, "hub is none of the volumes", "add the volume or correct the name"),
    )


def test_a_mount_may_use_a_volume_of_the_default_template() -> None:
    mount = with_container(volumeMounts=[{"name": "hub", "mountPath": "/hub"}])
    assert mount_problems(merge_templates("head", with_spec(volumes=[{"name": "hub"}]), mount), "head") == []


def test_our_environment_and_mounts_win_over_the_templates() -> None:
    template = with_container(
        env=[{"name": "HOME", "value": "/root"}, {"name": "MINE", "value": "1"}],
        volumeMounts=[{"name": "big", "mountPath": "/tmp"}],
    )
    template["spec"]["volumes"] = [{"name": "big", "emptyDir": {}}, {"name": "distillery-tmp", "secret": {}}]
    manifest = Case("filter", "filter", profile=make_profile(pods={"default": {"head": template}})).render()
    spec = manifest["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    env = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
    assert (env["HOME"], env["MINE"]) == ("/tmp", "1")
    mounts = {entry["mountPath"]: entry["name"] for entry in spec["containers"][0]["volumeMounts"]}
    assert mounts["/tmp"] == "distillery-tmp"
    assert {"name": "distillery-tmp", "emptyDir": {}} in spec["volumes"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["1Gi", "500m"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.text(max_size=5) | st.sampled_from(["name", "mountPath", "requests"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
containers = st.lists(st.dictionaries(st.sampled_from([*CONTAINER_FIELDS, "image"]), json_values), max_size=2)
specs = st.dictionaries(st.sampled_from([*POD_FIELDS, "hostNetwork"]), json_values | containers, max_size=4)
any_template = st.fixed_dictionaries({}, optional={"metadata": json_values, "spec": json_values | specs})


@unhurried
@given(any_template, any_template)
def test_any_template_is_either_refused_or_rendered_as_a_restricted_pod(default: Any, stage: Any) -> None:
    profile = make_profile(pods={"default": {"head": default}, "filter": {"head": stage}})
    case = Case("filter", "filter", profile=profile)
    refused = render_problems(case.spec, profile, case.assignment)
    assert all(problem.path.startswith("spec.pods.") for problem in refused)
    if not refused:
        rayjob = case.render()
        assert offences(rayjob["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]) == []

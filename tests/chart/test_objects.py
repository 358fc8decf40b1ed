"""The operator's pods, its policies and the optional objects."""

from __future__ import annotations

from typing import Any

import pytest

from chart.pod_security import offences
from chart.rendering import CHART, Manifest, needs_helm, of_kind, render, template
from chart.test_rights import EVERYTHING

pytestmark = needs_helm
RAY = {"matchExpressions": [{"key": "distillery.dev/job-uid", "operator": "Exists"}]}


def deployment(values: Manifest | None = None) -> Manifest:
    return of_kind(render(values), "Deployment")["distillery"]


def container(values: Manifest | None = None) -> Manifest:
    (only,) = deployment(values)["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_the_defaults_render_exactly_these_objects() -> None:
    kinds = sorted((item["kind"], item["metadata"]["name"]) for item in render())
    assert kinds == [
        ("ClusterRole", "distillery-edit"),
        ("ClusterRole", "distillery-jobs"),
        ("ClusterRole", "distillery-profiles"),
        ("ClusterRole", "distillery-view"),
        ("ClusterRoleBinding", "distillery-jobs"),
        ("ClusterRoleBinding", "distillery-profiles"),
        ("Deployment", "distillery"),
        ("NetworkPolicy", "distillery"),
        ("PodDisruptionBudget", "distillery"),
        ("Role", "distillery-election"),
        ("RoleBinding", "distillery-election"),
        ("ServiceAccount", "distillery"),
    ]


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_every_pod_passes_restricted_pod_security(values: Manifest) -> None:
    pods = [item["spec"]["template"]["spec"] for item in render(values) if "template" in item.get("spec", {})]
    assert [offences(pod) for pod in pods] == [[]]


def test_a_careless_pod_does_not_pass() -> None:
    careless = {
        "hostNetwork": True,
        "volumes": [{"name": "disk", "hostPath": {"path": "/"}}],
        "containers": [{"name": "c", "ports": [{"hostPort": 80}], "securityContext": {"privileged": True}}],
    }
    assert offences(careless) == [
        "hostNetwork is true",
        "volume disk is a hostPath",
        "c: runAsNonRoot is not true",
        "c: no seccompProfile",
        "c: allowPrivilegeEscalation is not false",
        "c: privileged",
        "c: capabilities are not dropped",
        "c: hostPort",
    ]


def test_two_replicas_prefer_different_nodes_and_are_replaced_one_by_one() -> None:
    spec = deployment()["spec"]
    (term,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]
    assert of_kind(render(), "PodDisruptionBudget")["distillery"]["spec"]["maxUnavailable"] == 1
    assert of_kind(render({"replicas": 1}), "PodDisruptionBudget") == {}


def test_probes_and_metrics_are_on_the_operators_own_server() -> None:
    operator = container()
    assert operator["ports"] == [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]
    paths = {name: operator[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    monitor = of_kind(render({"podMonitor": {"enabled": True}}), "PodMonitor")["distillery"]["spec"]
    assert monitor["podMetricsEndpoints"] == [{"port": "http", "path": "/metrics", "interval": "30s"}]


def test_the_operator_asks_for_little() -> None:
    assert container()["resources"] == {
        "requests": {"cpu": "100m", "memory": "128Mi"},
        "limits": {"memory": "512Mi"},
    }


def test_the_values_reach_the_operator_by_its_environment() -> None:
    values = {
        "workerImage": "registry.example.com/worker:7",
        "rayVersion": "2.60.0",
        "watchNamespaces": ["support", "sales"],
        "logLevel": "debug",
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
    }
    env = {item["name"]: item.get("value", item.get("valueFrom")) for item in container(values)["env"]}
    assert env == {
        "POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "POD_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
        "HOME": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DISTILLERY_LOG_LEVEL": "debug",
        "DISTILLERY_WORKER_IMAGE": "registry.example.com/worker:7",
        "DISTILLERY_RAY_VERSION": "2.60.0",
        "DISTILLERY_WATCH_NAMESPACES": "support,sales",
        "TZ": "UTC",
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"image": {"repository": ""}},
            "image.repository is not set: build the images as docs/install.md says",
        ),
        ({"workerImage": ""}, "workerImage is not set: build the images as docs/install.md says"),
    ],
)
def test_an_image_that_nobody_has_named_is_asked_for(values: Manifest, message: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "registry.example.com/distillery-operator:0.1.0"),
        ({"repository": "r.example.com/o", "tag": "9"}, "r.example.com/o:9"),
        ({"repository": "o", "tag": "9", "digest": f"sha256:{'a' * 64}"}, f"o@sha256:{'a' * 64}"),
    ],
)
def test_the_image_is_named_by_tag_or_digest(image: Manifest, reference: str) -> None:
    assert container({"image": image})["image"] == reference


def test_the_operators_policy_lets_in_probes_and_out_dns_and_the_api_server() -> None:
    policy = of_kind(render(), "NetworkPolicy")["distillery"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]
    assert policy["egress"] == [
        {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
        {"ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]},
    ]
    assert of_kind(render({"networkPolicy": {"enabled": False}}), "NetworkPolicy") == {}


def test_ray_pods_talk_among_themselves_and_to_what_a_stage_needs() -> None:
    store: list[Any] = [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
    values = {"tenantNetworkPolicies": {"namespaces": ["support"], "s3": {"to": store, "ports": [9000]}}}
    policy = of_kind(render(values), "NetworkPolicy")["distillery-ray"]
    kuberay = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}},
    }
    assert policy["metadata"]["namespace"] == "support"
    assert policy["spec"] == {
        "podSelector": RAY,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [{"podSelector": RAY}]},
            {"from": [kuberay], "ports": [{"protocol": "TCP", "port": 8265}]},
        ],
        "egress": [
            {"to": [{"podSelector": RAY}]},
            {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]},
            {"ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]},
            {"ports": [{"protocol": "TCP", "port": 9000}], "to": store},
            {"ports": [{"protocol": "TCP", "port": 443}]},
        ],
    }


def test_a_profile_comes_with_the_release_if_asked_for() -> None:
    spec = {"image": "distillery-worker:0.1.0", "ceilings": {"workers": 8}}
    profile = of_kind(render({"profile": {"create": True, "spec": spec}}), "DistillationProfile")["standard"]
    assert profile["metadata"]["annotations"] == {"distillery.dev/is-default-profile": "true"}
    assert profile["spec"] == spec


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "replicas"),
        ({"logLevel": "loud"}, "logLevel"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"watchNamespaces": ["Support"]}, "watchNamespaces"),
        ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
        ({"rayVersion": "latest"}, "rayVersion"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: Manifest, word: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert word in done.stderr


def test_every_documented_value_exists_and_the_other_way_round() -> None:
    from ruamel.yaml import YAML

    values = YAML(typ="safe", pure=True).load(CHART / "values.yaml")
    schema = YAML(typ="safe", pure=True).load(CHART / "values.schema.json")
    assert set(values) == set(schema["properties"]) - {"global"}

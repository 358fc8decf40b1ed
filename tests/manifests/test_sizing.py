from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillery.api.quantities import parse_quantity
from distillery.api.sizes import LEAST_CPU, LEAST_MEMORY, shortage, small_workers
from distillery.manifests.sizing import (
    HEAD,
    WORKERS,
    cores_of,
    fit_resources,
    ray_start_params,
    shared_memory,
    wanted_resources,
    workers_of,
)
from distillery.stages.stage import STAGE_NAMES
from manifests.rendering import make_spec

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
quantities = st.builds(
    lambda number, suffix: f"{number}{suffix}",
    st.integers(min_value=1, max_value=999),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]),
)
layers = st.fixed_dictionaries(
    {},
    optional={
        part: st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "ephemeral-storage"]), quantities)
        for part in ("requests", "limits")
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", "0"),
        ("2", "2"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("500m", "0.5"),
        ("100u", "0.0001"),
        ("1.5Gi", "1610612736"),
        ("3G", "3000000000"),
        ("2e3", "2000"),
        ("1E", "1000000000000000000"),
        ("1Ei", "1152921504606846976"),
    ],
)
def test_quantities_mean_what_kubernetes_means(text: str, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "much", "-1", "1 Gi", "1gi", "0x1", "1e999"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


def test_only_teacher_and_student_have_workers() -> None:
    spec = make_spec(
        teacher={"workers": {"replicas": 2}},
        student={"workers": {"replicas": 4, "resources": {"nvidia.com/gpu": 2}}},
    )
    assert [workers_of(spec, stage) for stage in STAGE_NAMES] == [0, 2, 0, 4, 0]
    assert [workers_of(make_spec(), stage) for stage in STAGE_NAMES] == [0] * 5


def test_later_layers_win_and_defaults_stay_where_nothing_is_said() -> None:
    got = fit_resources(HEAD, {"requests": {"cpu": "1"}}, {"requests": {"cpu": 2}, "limits": {"cpu": "4"}})
    assert got == {
        "requests": {"cpu": "2", "memory": "1536Mi"},
        "limits": {"memory": "4Gi", "cpu": "4"},
    }


def test_a_default_gives_way_to_what_contradicts_it() -> None:
    assert fit_resources(HEAD, {"limits": {"memory": "1Gi"}})["requests"]["memory"] == "1Gi"
    assert fit_resources(HEAD, {"requests": {"memory": "8Gi"}})["limits"]["memory"] == "8Gi"


@unhurried
@given(st.lists(layers, max_size=3))
def test_no_request_exceeds_its_limit_and_extended_resources_are_equal(given_layers: list[dict]) -> None:  # type: ignore[type-arg]
    got = fit_resources(HEAD, *given_layers)
    for name, limit in got["limits"].items():
        request = got["requests"].get(name, "0")
        assert parse_quantity(request) <= parse_quantity(limit)
        if "/" in name:
            assert request == limit


def test_rays_object_store_stays_small_and_fits_into_shared_memory() -> None:
    want = {"1Gi": ("134217728", "512Mi"), "4Gi": ("536870912", "2048Mi"), "64Gi": ("2147483648", "32768Mi")}
    for memory, (store, shm) in want.items():
        resources = fit_resources(HEAD, {"requests": {"memory": memory}, "limits": {"memory": memory}})
        assert ray_start_params("worker", resources, works=True) == {
            "num-cpus": "1",
            "object-store-memory": store,
        }
        assert shared_memory(resources) == shm


def test_cpu_is_requested_and_everything_else_is_limited_too_unless_a_limit_says_otherwise() -> None:
    asked = {"cpu": "4", "memory": "16Gi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "1"}
    limited = {name: amount for name, amount in asked.items() if name != "cpu"}
    for limits, want in (
        (None, limited),
        ({"memory": "64Gi"}, limited | {"memory": "64Gi"}),
        ({"cpu": "8"}, limited | {"cpu": "8"}),
    ):
        spec = make_spec(student={"workers": {"resources": asked, "limits": limits}})
        assert wanted_resources(spec, "student") == {"requests": asked, "limits": want}
    assert wanted_resources(spec, "teacher") == {"requests": {}, "limits": {}}


def test_a_later_limit_lowers_an_earlier_request_and_a_later_request_raises_an_earlier_limit() -> None:
    low = fit_resources(HEAD, {"requests": {"memory": "8Gi"}}, {"limits": {"memory": "6Gi"}})
    assert (low["requests"]["memory"], low["limits"]["memory"]) == ("6Gi", "6Gi")
    high = fit_resources(HEAD, {"limits": {"memory": "6Gi"}}, {"requests": {"memory": "8Gi"}})
    assert (high["requests"]["memory"], high["limits"]["memory"]) == ("8Gi", "8Gi")


@pytest.mark.parametrize(
    ("workers", "cpus", "cores"),
    [
        ({"resources": {"cpu": "100m"}}, "1", 1),
        ({"resources": {"cpu": "2500m"}}, "3", 3),
        ({"resources": {"cpu": 2}, "limits": {"cpu": 16}}, "2", None),
        ({"limits": {"cpu": 16}}, "1", None),
        ({}, "1", None),
    ],
)
def test_ray_counts_what_is_requested_and_torch_too_where_nothing_limits_it(
    workers: dict[str, Any], cpus: str, cores: int | None
) -> None:
    spec = make_spec(student={"workers": workers})
    resources = fit_resources(WORKERS["student"], wanted_resources(spec, "student"))
    assert ray_start_params("worker", resources, works=True)["num-cpus"] == cpus
    assert cores_of(spec, "student") == cores
    assert cores_of(spec, "teacher") is None


def test_a_size_below_what_ray_needs_is_a_warning_and_our_own_defaults_are_none() -> None:
    tight = {"resources": {"cpu": "100m", "memory": "512Mi"}}
    throttled = {"limits": {"cpu": "500m", "memory": "1Gi"}}
    assert [str(p) for p in small_workers(make_spec(teacher={"workers": tight}))] == [
        "spec.teacher.workers.resources.cpu: 100m is little: on a busy node Ray does not start before its probes"
        " give up → write at least 250m",
        "spec.teacher.workers.resources.memory: 512Mi is little: Ray's own processes take most of it"
        " → write at least 1Gi",
    ]
    assert [str(p) for p in small_workers(make_spec(student={"workers": throttled}))] == [
        "spec.student.workers.limits.cpu: 500m is little: Ray is throttled, and does not start before its probes"
        " give up → write at least 1, or leave it out"
    ]
    enough = {"resources": {"cpu": LEAST_CPU, "memory": LEAST_MEMORY}}
    assert not list(small_workers(make_spec(teacher={"workers": enough}, student={"workers": {}})))
    for resources in (HEAD, *WORKERS.values()):
        assert shortage(resources["requests"], resources["limits"]) == ""

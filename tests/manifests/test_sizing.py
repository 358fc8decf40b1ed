from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distillery.manifests.sizing import (
    HEAD,
    fit_resources,
    gpus_of,
    parse_quantity,
    ray_start_params,
    shared_memory,
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
    assert [gpus_of(spec, stage) for stage in STAGE_NAMES] == [0, 0, 0, 8, 0]
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

"""How the workers of a training are placed; that they train is in test_driver and test_worker_pods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.train import ScalingConfig

from distillery.errors import StageFailed, StageStopped
from distillery.stages import cluster
from distillery.stages.student import fitting
from stages.student.conftest import make_work
from stages.student.test_driver import Attempt

HEAD = {"node:__internal_head__": 1.0}
CPU = {"CPU": 4.0}
GPU = {"CPU": 8.0, "GPU": 1.0}


def see(monkeypatch: pytest.MonkeyPatch, *looks: list[dict[str, float]]) -> None:
    """Let each look at the cluster find the next of these worker nodes, and in the end always the last."""
    left = list(looks)

    def nodes() -> list[dict[str, Any]]:
        found = left.pop(0) if len(left) > 1 else left[0]
        dead = {"Alive": False, "Resources": {}}
        return [dead, *({"Alive": True, "Resources": node} for node in (HEAD, *found))]

    monkeypatch.setattr(ray, "nodes", nodes)
    monkeypatch.setattr(cluster, "PAUSE", 0.0)


Place = Callable[..., ScalingConfig]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a function that places the workers of a stage: (pods, the spec's resources of each, stopped)."""

    def place(
        pods: int, resources: dict[str, Any] | None = None, stop_after: int | None = None
    ) -> ScalingConfig:
        workers = {} if resources is None else {"workers": {"replicas": pods, "resources": resources}}
        work = make_work(tmp_path, **workers)
        context = replace(Attempt(work, tmp_path, stop_after).context, workers=pods)
        return fitting.scaling(context, work.params)

    return place


def test_without_pods_one_process_of_this_machine_trains_without_a_gpu(place: Place) -> None:
    assert (place(0).num_workers, place(0).use_gpu) == (1, False)


def test_pods_that_join_late_are_waited_for_before_anything_is_concluded(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(monkeypatch, [], [GPU], [GPU, GPU])
    found = place(2)
    assert (found.num_workers, found.use_gpu, found.placement_strategy) == (2, True, "STRICT_SPREAD")


@pytest.mark.parametrize("resources", [None, {"cpu": 4}, {"nvidia.com/gpu": 0}])
def test_pods_without_gpus_train_on_cpus(
    place: Place, monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any] | None
) -> None:
    see(monkeypatch, [CPU], [CPU, CPU])
    assert place(2, resources).use_gpu is False


@pytest.mark.parametrize(
    ("nodes", "resources", "message"),
    [
        ([GPU, CPU], None, "Ray sees a GPU on 1 of 2 worker pods"),
        ([GPU, CPU], {"nvidia.com/gpu": 1}, "Ray sees a GPU on 1 of 2 worker pods"),
        ([CPU, CPU], {"amd.com/gpu": 2}, "Ray sees a GPU on 0 of 2 worker pods"),
    ],
)
def test_a_training_that_should_have_gpus_never_goes_on_without_some(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, float]],
    resources: dict[str, Any] | None,
    message: str,
) -> None:
    see(monkeypatch, nodes)
    with pytest.raises(StageFailed, match=message) as caught:
        place(2, resources)
    assert (caught.value.reason, caught.value.failure_class) == ("GPUsMissing", "infrastructure")


def test_pods_that_never_come_are_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, [GPU])
    monkeypatch.setattr(fitting, "START_SECONDS", 0.01)
    with pytest.raises(StageFailed, match="1 of 2 worker pods have joined within 0 s") as caught:
        place(2)
    assert (caught.value.reason, caught.value.failure_class) == ("TrainWorkerLost", "infrastructure")


def test_a_stop_request_is_heard_while_pods_are_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(monkeypatch, [GPU])
    with pytest.raises(StageStopped):
        place(2, stop_after=0)

from pathlib import Path

import pytest

from distillery.modeling.threads import available_cores, threads_for


def test_small_models_and_few_cores_get_one_thread_and_large_models_every_core() -> None:
    assert [threads_for(432_000, 16), threads_for(25_000_000, 2), threads_for(25_000_000, 16)] == [1, 1, 16]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "800000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 64),
    ],
)
def test_the_cpu_limit_of_the_container_counts(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores


def test_without_a_limit_what_a_worker_asks_for_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    for said, cores in {"4": 4, "100": 64, "0": 64, "": 64, "many": 64}.items():
        monkeypatch.setenv("DISTILLERY_CORES", said)
        assert available_cores(tmp_path) == cores

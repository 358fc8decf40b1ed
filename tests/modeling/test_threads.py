from distillery.modeling.threads import available_cores, threads_for


def test_small_models_and_few_cores_get_one_thread_and_large_models_every_core() -> None:
    assert [threads_for(432_000, 16), threads_for(25_000_000, 2), threads_for(25_000_000, 16)] == [1, 1, 16]


def test_there_is_a_core_at_least() -> None:
    assert available_cores() >= 1

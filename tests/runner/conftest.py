"""One finished tiny job per test session; tests that change something work on a copy."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tiny_job import NONSENSE, Finished, make_bench, teacher_process


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("finished")
    bill = folder / "bill.jsonl"
    with teacher_process(bill, *NONSENSE) as url:
        bench = make_bench(folder / "bench", url, bill)
        began = time.monotonic()
        first = bench.run()
        yield Finished(bench, first, time.monotonic() - began, len(bench.billed()))

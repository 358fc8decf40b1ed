"""How fast the teacher engine asks, and what a request costs in CPU.

    python bench/querying/throughput.py [ROWS] [CONCURRENCY] [DELAY]

The teacher is tests/fake_teacher.py in a process of its own on the same machine; its speed is part of the figure, the
CPU time is the client's alone. Journal and ledger are durable, in a temporary folder.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "operator"), str(REPOSITORY / "tests")]

from distillery.api.v1alpha1.teacher import RateLimits  # noqa: E402
from distillery.artifacts.directory import DirectoryStore  # noqa: E402
from distillery.querying import TeacherEngine  # noqa: E402
from querying_builders import make_questions, make_settings  # noqa: E402


def measure(url: str, folder: Path, rows: int, concurrency: int) -> str:
    """Ask once against an empty cache, return the figures."""
    settings = make_settings(url, rate_limits=RateLimits(concurrency=concurrency))
    questions = make_questions(rows)
    wall, cpu = time.perf_counter(), time.process_time()
    with TeacherEngine(settings, DirectoryStore(folder), "bench", "teacher", 1, None) as engine:
        engine.ask(questions)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return f"{rows / wall:7.0f} requests/s, {1000 * cpu / rows:.2f} ms CPU per request"


def main(rows: int = 20000, concurrency: int = 256, delay: float = 0.2) -> None:
    """Print three repeats and one run from the cache."""
    command = [sys.executable, str(REPOSITORY / "tests/fake_teacher.py"), "--delay", str(delay)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as teacher,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert teacher.stdout is not None
        url = teacher.stdout.readline().strip()
        try:
            for repeat in range(3):
                print(measure(url, Path(folder) / str(repeat), rows, concurrency))
            print(measure(url, Path(folder) / "0", rows, concurrency), "from the cache")
        finally:
            teacher.terminate()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*map(int, given[:2]), *map(float, given[2:3]))

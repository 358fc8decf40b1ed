"""A process that asks a teacher until it is done or killed: `python asker.py URL STORE COUNT ATTEMPT`."""

from __future__ import annotations

import sys
from pathlib import Path

from distillery.artifacts.directory import DirectoryStore
from querying_builders import make_engine, make_questions, make_settings


def main(url: str, store: str, count: str, attempt: str) -> None:
    with make_engine(make_settings(url), DirectoryStore(Path(store)), attempt=int(attempt)) as engine:
        print("asking", flush=True)
        results = engine.ask(make_questions(int(count)))
        print("answered", len(results), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

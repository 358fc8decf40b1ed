"""How long the dataset stage takes: reading, the near-duplicate join, the audit. One core; prints one line per corpus.

Usage: python bench/dataset/near_duplicates.py [ROWS …]

Corpora: `tickets` are short texts from few templates, so that nearly all rows share their trigrams, the hard case of
the join; `zipf` are texts of 100 words drawn by Zipf's law, a fifth of them copies with one word changed.
"""

from __future__ import annotations

import itertools
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from distillery.api.v1alpha1.distillation_job import DistillationJobSpec
from distillery.stages.dataset.audit import audit_of
from distillery.stages.dataset.inputs import build_inputs
from distillery.stages.dataset.reading import read_files
from distillery.stages.dataset.sources import SourceFile
from distillery.stages.dataset.spec import DatasetParams

OPENINGS = ["hello team", "dear support", "good morning", "hi", "to whom it may concern", "hey there"]
THINGS = ["invoice", "login", "parcel", "refund", "account", "order", "phone", "contract", "router", "card"]
SINCE = ["monday", "yesterday", "last week", "the update", "an hour ago", "the first of may"]
CLOSINGS = [
    "can you help me",
    "it is urgent",
    "thanks a lot in advance",
    "i want my money back",
    "please call me",
]


def tickets(rows: int) -> Iterator[str]:
    rng = random.Random(1)
    for _ in range(rows):
        number, other = rng.randrange(99999), rng.randrange(999)
        parts = [rng.choice(OPENINGS), f"i have a problem with my {rng.choice(THINGS)} {number}"]
        parts += [f"since {rng.choice(SINCE)}", f"ticket {other}", *rng.sample(CLOSINGS, 2)]
        yield " ".join(parts)


def zipf(rows: int) -> Iterator[str]:
    rng = random.Random(2)
    vocabulary = [f"word{number}" for number in range(50_000)]
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(vocabulary))))
    kept: list[list[str]] = []
    for _ in range(rows):
        if kept and rng.random() < 0.2:
            words = list(rng.choice(kept))
            words[rng.randrange(len(words))] = rng.choice(vocabulary)
        else:
            words = rng.choices(vocabulary, cum_weights=weights, k=max(5, round(rng.gauss(100, 30))))
            kept.append(words)
        yield " ".join(words)


def params(near: float) -> DatasetParams:
    spec = {
        "task": {"output": {"format": "text"}},
        "dataset": {
            "sources": [{"uri": "file:///rows.jsonl"}],
            "input": "{text}",
            "id": "id",
            "deduplicate": {"near": near},
        },
        "teacher": {"model": "teacher", "endpoint": {"url": "http://teacher/v1"}},
        "student": {"base": {"architecture": {"model_type": "llama"}}},
    }
    return DatasetParams.from_spec(DistillationJobSpec.model_validate(spec))


def measure(name: str, texts: Iterator[str], path: Path, near: float = 0.8) -> None:
    with path.open("w") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"id": number, "text": text}) + "\n")
    chosen = params(near)
    times = [time.process_time()]
    pooled, _ = read_files([SourceFile(f"file://{path}", "plain", path)], chosen)
    times.append(time.process_time())
    inputs = build_inputs(pooled, chosen)
    times.append(time.process_time())
    audit = audit_of(inputs.rows, near)
    times.append(time.process_time())
    assert audit["clean"]
    reading, building, auditing = (after - before for before, after in itertools.pairwise(times))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:8} {pooled.read:8,} rows  near {near}: reading {reading:6.2f} s, near-duplicates and splits "
        f"{building:6.2f} s, audit {auditing:6.2f} s, kept {len(inputs.rows):8,}, peak so far {peak:6.0f} MB",
        flush=True,
    )


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or [6_000, 30_000, 100_000]
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            for name, corpus in (("tickets", tickets), ("zipf", zipf)):
                measure(name, corpus(rows), Path(folder) / "rows.jsonl")


if __name__ == "__main__":
    main()

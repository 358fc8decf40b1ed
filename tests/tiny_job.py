"""A small but whole job for tests: 240 tickets, three labels, a tiny student, the real command line."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import children
from distillery.api.dumping import dump_yaml
from distillery.artifacts.directory import DirectoryStore
from distillery.artifacts.manifest import Manifest
from distillery.cli import main
from fake_teacher import read_bill

OPENINGS = ("hello", "hi there", "dear team", "good day", "hey", "please help", "urgent", "question")
SUBJECTS = ("my account", "the app", "order 17", "the last month", "our plan", "this device", "the website")
PROBLEMS = {
    "billing": ("the invoice is wrong", "a charge appeared twice", "the payment failed"),
    "login": ("my password is rejected", "the login page hangs", "I cannot sign in"),
    "refund": ("I want a refund", "give me my money back", "I will return the item"),
}
ENDINGS = ("thanks", "what now", "please check", "it is the third time", "regards", "see the file")


def ticket(number: int) -> dict[str, Any]:
    """Return ticket `number`: always the same one."""
    rng = random.Random(number)
    label = rng.choice(sorted(PROBLEMS))
    words = (rng.choice(OPENINGS), rng.choice(SUBJECTS), rng.choice(PROBLEMS[label]), rng.choice(ENDINGS))
    text = f"{words[0]}, about {words[1]}: {words[2]}, {words[3]} ({number})"
    return {"id": f"t{number:05}", "text": text, "category": label, "lang": rng.choice(["en", "de"])}


def write_tickets(path: Path, numbers: Sequence[int]) -> None:
    """Write tickets as JSONL in the given order."""
    path.write_text("".join(json.dumps(ticket(number)) + "\n" for number in numbers))


def manifest(url: str, tickets: Path, **changes: Any) -> dict[str, Any]:
    """Return the tiny job as a mapping; `changes` replace whole sections of the spec."""
    spec: dict[str, Any] = {
        "task": {
            "systemPrompt": "Route the ticket.",
            "output": {"format": "label", "labels": ["billing", "login", "refund"]},
            "monthlyRequests": 100000,
        },
        "dataset": {
            "sources": [{"uri": f"file://{tickets}"}],
            "input": "{text}",
            "id": "id",
            "reference": "category",
            "slices": [
                {"name": "category", "byColumn": "category"},
                {"name": "german", "where": {"lang": "de"}},
            ],
            "split": {"validation": 0.1, "test": 0.25, "seed": 3},
        },
        "teacher": {
            "model": "teacher",
            "endpoint": {"url": url},
            "identity": "fake-teacher",
            "parameters": {"maxTokens": 8, "topLogprobs": 5},
            "pricing": {"promptPerMillion": "2.00", "completionPerMillion": "10.00"},
            "pilot": {"rows": 16},
            "rateLimits": {"concurrency": 8},
        },
        "student": {
            "base": {
                "architecture": {
                    "model_type": "llama",
                    "hidden_size": 64,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 2,
                    "intermediate_size": 128,
                    "max_position_embeddings": 128,
                    "tie_word_embeddings": True,
                },
                "tokenizer": {"train": {"vocabSize": 400}},
            },
            "loss": {"hard": 0.5, "soft": 0.5},
            "epochs": 9,
            "batchSize": 8,
            "evaluationsPerEpoch": 2,
            "optimizer": {"learningRate": 0.003, "warmupRatio": 0.1},
            "earlyStopping": {"patience": 20},
        },
        "evaluation": {"gates": {"retention": {"min": 0.5, "basis": "reference"}}, "noiseRows": 10},
        "release": {"name": "router"},
        "budget": {"maxCost": "5.00"},
    }
    spec |= changes
    return {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "DistillationJob",
        "metadata": {"name": "tiny"},
        "spec": spec,
    }


@dataclass
class Ran:
    """One finished command."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines of `--output json`."""
        return [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]

    @property
    def status(self) -> dict[str, Any]:
        """The status in the closing event."""
        status: dict[str, Any] = self.events[-1]["status"]
        return status

    @property
    def ran(self) -> list[str]:
        """The stages that were run, not reused."""
        return [s["name"] for s in self.status["stages"] if s["state"] == "Succeeded" and not s["reused"]]


@dataclass
class Bench:
    """A folder with manifest, store and workdir, and the command that runs them. The tickets may lie elsewhere."""

    folder: Path
    url: str
    bill: Path
    tickets: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def job(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def workdir(self) -> Path:
        return self.folder / "work"

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.folder / "store")

    def write_job(self, **changes: Any) -> None:
        """Write the manifest, its store a folder beside it."""
        changes.setdefault("storage", {"uri": "file://store"})
        self.job.write_text(dump_yaml(self.manifest(**changes)))

    def manifest(self, **changes: Any) -> dict[str, Any]:
        """Return the manifest as a mapping."""
        return manifest(self.url, self.tickets, **changes)

    def replace_tickets(self, numbers: Sequence[int]) -> None:
        """Give this bench tickets of its own and name them in the manifest."""
        self.tickets = self.folder / "tickets.jsonl"
        write_tickets(self.tickets, numbers)
        self.write_job()

    def command(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "distillery",
            "run",
            str(self.job),
            "--workdir",
            str(self.workdir),
            "--output",
            "json",
            *arguments,
        ]

    def run(self, *arguments: str, timeout: float = 300) -> Ran:
        """Run the job to its end."""
        done = children.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | self.environment,
            cwd=self.folder,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def run_here(self, *arguments: str) -> Ran:
        """Run the job in this process: quick, for runs that end before a student is trained."""
        out, err = io.StringIO(), io.StringIO()
        argv = sys.argv
        sys.argv = ["distillery", *self.command(*arguments)[3:]]
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main()
        except SystemExit as ended:
            return Ran(int(ended.code or 0), out.getvalue(), err.getvalue())
        finally:
            sys.argv = argv
        return Ran(0, out.getvalue(), err.getvalue())

    def billed(self) -> list[dict[str, Any]]:
        """What the teacher has on its bill so far."""
        return read_bill(self.bill)

    def manifests(self) -> dict[str, Manifest]:
        """The newest manifest of every stage in the store."""
        found = {}
        for stat in sorted(self.store.list("artifacts/"), key=lambda stat: stat.modified):
            if stat.key.endswith("/manifest.json"):
                decoded = Manifest.decode(self.store.get(stat.key))
                found[decoded.stage] = decoded
        return found


NONSENSE = ("--fault", json.dumps({"kind": "nonsense", "match": "it is the third time"}))
"""About a sixth of the tickets gets an answer that is no label, so that the filter has something to do."""


@contextmanager
def teacher_process(bill: Path, *arguments: str) -> Iterator[str]:
    """Run the fake teacher in a process of its own and yield its URL."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("fake_teacher.py")),
        "--bill",
        str(bill),
        *arguments,
    ]
    with children.running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(10)


def make_bench(folder: Path, url: str, bill: Path, rows: int = 240) -> Bench:
    """Return a bench with tickets and the default manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(folder, url, bill, folder / "tickets.jsonl")
    bench.replace_tickets(range(rows))
    return bench


@dataclass
class Finished:
    """A bench whose job has run to its end, and what that first run said."""

    bench: Bench
    first: Ran
    seconds: float
    """How long the first run took."""
    billed: int
    """Calls that the first run was billed; tests on copies add to the same bill."""

    def copy(self, folder: Path) -> Bench:
        """Return a copy of the bench that can be changed."""
        shutil.copytree(self.bench.folder, folder, symlinks=True)
        return Bench(folder, self.bench.url, self.bench.bill, self.bench.tickets)

"""What the fault matrix notes, and its table for docs/reliability.md.

python e2e/stories/matrix.py     # prints what has passed with the images of the running cluster
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from incidents import INCIDENTS
from place import SUMMARY, Job, Site

from distillery.stages.stage import STAGE_NAMES

TEST = Path(__file__).with_name("test_5_matrix.py")


OVER = ("Complete", "Failed")


@dataclass(frozen=True)
class Cell:
    """One incident at one stage: attempts that the stage took, seconds from the incident to the stage's end."""

    attempts: int
    seconds: float


@dataclass(frozen=True)
class Course:
    """How a job went: identity and output digest by stage, in the end."""

    identities: dict[str, str]
    digests: dict[str, str]
    cells: dict[str, Cell] = field(default_factory=dict)
    answers_twice: int = 0


def _path(site: Site, name: str) -> Path:
    """Return where a course is noted: by the images and by the test."""
    parts = [site.summary["images"][image].rpartition(":")[2][:12] for image in ("operator", "worker")]
    parts.append(hashlib.sha256(TEST.read_bytes()).hexdigest()[:12])
    return SUMMARY.parent / "matrix" / "-".join(parts) / f"{name.replace(' ', '-')}.json"


def keep(site: Site, name: str, course: Course) -> None:
    """Note a course for these images."""
    path = _path(site, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(course)))


def kept(site: Site, name: str) -> Course | None:
    """Return what was noted for these images."""
    path = _path(site, name)
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    return Course(**{**found, "cells": {stage: Cell(**cell) for stage, cell in found["cells"].items()}})


class Vigil:
    """Looks all the time which attempts of a job are live; `overlaps` are stages with two at once.

    Live is one with a pod, a RayCluster, or a RayJob that has not ended.
    """

    def __init__(self, job: Job) -> None:
        self._uid = job.read()["metadata"]["uid"]
        self._job = job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.looks = 0
        self.overlaps: list[tuple[str, list[str]]] = []

    def __enter__(self) -> Vigil:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _look_on(self) -> None:
        words = ("get", "rayjobs,rayclusters,pods", "-n", self._job.namespace, "-o", "json")
        while not self._over.wait(1.0):
            text = self._job.site.kubectl(
                *words, "-l", f"distillery.dev/job-uid={self._uid}", "--request-timeout=5s", check=False
            )
            if text:
                self._judge(json.loads(text)["items"])

    def _judge(self, objects: list[dict[str, Any]]) -> None:
        self.looks += 1
        attempts: dict[str, set[str]] = {}
        for found in objects:
            if found.get("status", {}).get("jobDeploymentStatus") in OVER:
                continue
            labels = found["metadata"]["labels"]
            stage, attempt = labels["distillery.dev/stage"], labels["distillery.dev/attempt"]
            attempts.setdefault(stage, set()).add(attempt)
        self.overlaps += [(stage, sorted(found)) for stage, found in attempts.items() if len(found) > 1]


def table(site: Site) -> str:
    """Return the table as Markdown."""
    head = ["incident", *STAGE_NAMES, "answers bought twice"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in ("nothing", *(incident.name for incident in INCIDENTS)):
        course = kept(site, name)
        if course is not None:
            lines.append(
                "| " + " | ".join([name, *map(_written, _cells(course)), str(course.answers_twice)]) + " |"
            )
    return "\n".join(lines)


def _cells(course: Course) -> list[Cell | None]:
    return [course.cells.get(stage) for stage in STAGE_NAMES]


def _written(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    tries = "1 attempt" if cell.attempts == 1 else f"{cell.attempts} attempts"
    return f"{tries}, {cell.seconds:.0f} s"


if __name__ == "__main__":
    print(table(Site()))

"""The workdir of a local run: id, lock, attempts, reports and status as files. What a cluster keeps in ConfigMaps."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from distillery.api.base import WireModel
from distillery.api.v1alpha1.status import Status
from distillery.api.yaml import load_yaml
from distillery.errors import Problem, SpecError
from distillery.planning.observed import Attempt
from distillery.stages.report import Report
from distillery.stages.stage import StageName


class RecordEntry(WireModel):
    """What the runner wrote before it started an attempt."""

    stage: StageName
    number: int
    recipe: str
    identity: str | None = None
    started_at: float


class Record(WireModel):
    """All attempts of this workdir."""

    version: int = 1
    entries: list[RecordEntry] = []


class Workdir:
    """A folder that belongs to one job. Raises: SpecError if it cannot be used.

    With `create` false it is only looked at: nothing is written, and before its first run its `uid` is one that
    nobody has.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.folder = folder
        if not create:
            self.uid = self._known_uid() or _new_uid()
            return
        try:
            for part in ("reports", "logs", "scratch", "cache"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            self.uid = self._uid()
        except OSError as error:
            raise SpecError(
                Problem("--workdir", f"cannot use {folder}: {error.strerror}", "name a writable folder")
            ) from None

    def _uid(self) -> str:
        if self._known_uid() is None:
            write_atomically(self.folder / "id", _new_uid().encode())
        return (self.folder / "id").read_text().strip()

    def _known_uid(self) -> str | None:
        try:
            return (self.folder / "id").read_text().strip() or None
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workdir for this process. Raises: SpecError if another run holds it."""
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                problem = Problem(
                    "--workdir",
                    f"{self.folder} is in use by another run",
                    "wait for it or name another folder",
                )
                raise SpecError(problem) from None
            yield

    def attempts(self) -> tuple[Attempt, ...]:
        """Return every recorded attempt with its last report. None is live: this process holds the lock."""
        return tuple(self._attempt(entry) for entry in self._record().entries)

    def start_attempt(self, attempt: Attempt) -> None:
        """Record an attempt before it begins."""
        entry = RecordEntry(
            stage=attempt.stage,
            number=attempt.number,
            recipe=attempt.recipe,
            identity=attempt.identity,
            started_at=attempt.started_at,
        )
        record = self._record()
        self._write("record.json", record.model_copy(update={"entries": [*record.entries, entry]}))

    def write_report(self, report: Report) -> None:
        """Replace the report of its attempt."""
        self._write(f"reports/{report.stage}.{report.attempt}.json", report)

    @property
    def status(self) -> Path:
        """Path of the status document."""
        return self.folder / "status.yaml"

    def _record(self) -> Record:
        try:
            return Record.model_validate_json((self.folder / "record.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Record()
        except ValidationError:
            problem = Problem(
                str(self.folder / "record.json"),
                "is damaged",
                "delete it: finished stages are found in the store",
            )
            raise SpecError(problem) from None

    def _attempt(self, entry: RecordEntry) -> Attempt:
        attempt = Attempt(
            entry.stage, entry.number, entry.recipe, entry.identity, entry.started_at, live=False
        )
        try:
            raw = (self.folder / f"reports/{entry.stage}.{entry.number}.json").read_bytes()
            report = Report.model_validate_json(raw)
        except (FileNotFoundError, ValidationError):
            return attempt
        return replace(attempt, report=report, ended_at=report.at)

    def _write(self, name: str, model: WireModel) -> None:
        write_atomically(self.folder / name, json.dumps(model.to_wire(), indent=1).encode())


def _new_uid() -> str:
    return uuid.uuid4().hex


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that a reader sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def read_status(folder: Path) -> Status | None:
    """Return the status that a run left in its workdir, or None. Raises: SpecError if the file is damaged."""
    path = folder / "status.yaml"
    if not path.exists():
        return None
    try:
        return Status.model_validate(load_yaml(path.read_bytes(), str(path)))
    except (SpecError, ValidationError):
        problem = Problem(str(path), "is damaged", "delete it: the next run writes it anew")
        raise SpecError(problem) from None

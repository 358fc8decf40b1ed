"""What every verb on a manifest starts from: the validated job, its workdir, its secrets, the wanted output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.api.overrides import apply_overrides
from distillery.api.relative import FILE_SCHEME, is_relative
from distillery.api.v1alpha1.distillation_job import DistillationJob
from distillery.api.v1alpha1.distillation_profile import PROFILE_KIND
from distillery.api.validation import load_job
from distillery.api.yaml import load_document
from distillery.errors import Problem, SpecError
from distillery.runner.secrets import LocalSecrets
from distillery.settings import Settings
from distillery.stages.stage import STAGE_NAMES

OUTPUTS = ("text", "json")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A manifest as one command sees it."""

    job: DistillationJob
    folder: Path
    """The workdir; it need not exist."""
    secrets: LocalSecrets
    output: str


def open_invocation(
    file: Path, workdir: Path | None, overrides: Sequence[str], secrets: Sequence[str], output: str
) -> Invocation:
    """Read and validate everything that was given. Raises: SpecError with every problem."""
    check_output(output)
    job = job_in(read_file(file), file, overrides)
    folder = workdir if workdir is not None else Path(".distillery") / job.metadata.name
    return Invocation(job, folder, LocalSecrets(Settings.read(), secrets), output)


def check_output(output: str, known: Sequence[str] = OUTPUTS) -> None:
    """Raise SpecError unless the format is known."""
    if output not in known:
        raise SpecError(Problem("--output", f"{output!r} is unknown", f"use {' or '.join(known)}"))


def check_stage(option: str, stage: str) -> None:
    """Raise SpecError unless the stage exists."""
    if stage not in STAGE_NAMES:
        raise SpecError(Problem(option, f"{stage!r} is no stage", f"use one of {', '.join(STAGE_NAMES)}"))


@dataclass(frozen=True, slots=True)
class WrittenJob:
    """A valid manifest, and its metadata as written: labels and namespace that the job itself does not read."""

    file: Path
    job: DistillationJob
    metadata: dict[str, Any]


def read_manifest(file: Path, overrides: Sequence[str]) -> WrittenJob:
    """Load a manifest; its URIs stay as written. Raises: SpecError with every problem."""
    text, changes = read_file(file), changes_in(overrides)
    job = _load(text, file, changes)
    data = load_document(text, str(file)).data
    apply_overrides(data, changes, DistillationJob)
    return WrittenJob(file, job, data["metadata"])


def job_in(text: bytes, file: Path, overrides: Sequence[str]) -> DistillationJob:
    """Load a manifest and make its relative `file://` URIs absolute, as seen from the manifest's folder."""
    job = _load(text, file, changes_in(overrides))
    data = job.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return DistillationJob.model_validate(_absolute(data, file.absolute().parent))


def _load(text: bytes, file: Path, changes: Sequence[tuple[str, str]]) -> DistillationJob:
    try:
        return load_job(text, file=str(file), overrides=changes)
    except SpecError:
        if not is_profile(text, file):
            raise
    repair = "check it with `distillery validate`, create it with `kubectl apply`"
    raise SpecError(Problem("kind", f"{PROFILE_KIND} is no job", repair, str(file)))


def is_profile(text: bytes, file: Path) -> bool:
    """Say whether a manifest calls itself a DistillationProfile. Raises: SpecError if it is no YAML."""
    return load_document(text, str(file)).data.get("kind") == PROFILE_KIND


def read_file(file: Path) -> bytes:
    """Return what a manifest holds. Read it once: it may be a pipe. Raises: SpecError."""
    try:
        return file.read_bytes()
    except OSError as error:
        problem = Problem(str(file), f"cannot be read: {error.strerror}", "name an existing file")
        raise SpecError(problem) from None


def changes_in(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Return fields and values of `--set` options. Raises: SpecError for the first that has no value."""
    return [_parse_override(override) for override in overrides]


def _parse_override(override: str) -> tuple[str, str]:
    path, separator, value = override.partition("=")
    if not separator or not path:
        problem = Problem(
            "--set", f"{override!r} has no value", "write --set spec.teacher.endpoint.url=http://…"
        )
        raise SpecError(problem)
    return path.strip(), value


def _absolute(value: Any, base: Path) -> Any:
    if isinstance(value, dict):
        return {
            key: _resolve(item, base) if key == "uri" else _absolute(item, base)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_absolute(item, base) for item in value]
    return value


def _resolve(uri: Any, base: Path) -> Any:
    if not is_relative(uri):
        return uri
    return f"{FILE_SCHEME}{base.as_posix()}/{uri.removeprefix(FILE_SCHEME).removeprefix('./')}"

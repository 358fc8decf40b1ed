"""Entrypoint of a pod: read the assignment and run it."""

from __future__ import annotations

import json
import logging
import sys

from pydantic import ValidationError

from distillery import __version__
from distillery.api.bounds import measured
from distillery.api.v1alpha1.common import MAX_FREE_FORM_DEPTH
from distillery.api.v1alpha1.conditions import Reason
from distillery.secrets import EnvironmentSecrets
from distillery.settings import Settings
from distillery.stages.assignment import Assignment
from distillery.stages.report import Failure
from distillery.stages.stage import StageRun
from distillery.stages.versions import NEWEST
from distillery.streams import flush_output, open_streams
from distillery.worker.logs import configure_logging
from distillery.worker.process import Attempt, Exit
from distillery.worker.secrets import PodSecrets

log = logging.getLogger("distillery.worker")

MOST_DEPTH = MAX_FREE_FORM_DEPTH + 16
"""Of a stage's parameters: a free-form field inside what leads to it."""


def main() -> Exit:
    """Run the attempt that the environment names and return the exit status."""
    settings = Settings.read()
    configure_logging(EnvironmentSecrets(settings), {}, settings.container_log)
    wrong = None
    try:
        text = settings.assignment.read_bytes()
        wrong = _too_new(text)
        assignment = Assignment.model_validate_json(text)
    except (OSError, ValidationError) as error:
        log.error("there is no usable assignment in %s: %s", settings.assignment, wrong or error)
        return Exit.UNUSABLE
    secrets = PodSecrets(settings, assignment.namespace)
    run = assignment.run
    kept = configure_logging(
        secrets,
        {
            "namespace": assignment.namespace,
            "job": run.job_name,
            "stage": run.stage,
            "attempt": assignment.attempt,
        },
        settings.container_log,
    )
    try:
        attempt = Attempt(assignment, settings, secrets, kept)
        failure = _too_old(wrong) or _too_deep(run)
        if failure is not None:
            log.error("%s", failure.message)
            return attempt.refuse(failure)
        return attempt.run()
    except (
        Exception
    ):  # the border: a bug of ours ends up in the log, secrets hidden, not on bare standard error
        log.exception("the worker failed")
        return Exit.FAILED


def _too_new(text: bytes) -> str | None:
    """Say that an assignment is newer than this worker, if it is; what else is wrong with it is not judged here."""
    try:
        version = json.loads(text)["version"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    if not isinstance(version, int) or version <= NEWEST:
        return None
    known = f"this worker, of release {__version__}, reads version {NEWEST} at most"
    return f"the assignment has version {version}, {known}: use a newer worker image"


def _too_old(wrong: str | None) -> Failure | None:
    if wrong is None:
        return None
    return Failure(failure_class="user", reason=Reason.WORKER_TOO_OLD, message=wrong)


def _too_deep(run: StageRun) -> Failure | None:
    """Refuse what an operator without this bound has let through: code behind this recurses into it."""
    depth, _ = measured(run.params)
    if depth <= MOST_DEPTH:
        return None
    message = f"the parameters of {run.stage} are nested {depth} deep or more: flatten them, {MOST_DEPTH} are allowed"
    return Failure(failure_class="user", reason=Reason.INVALID_SPEC, message=message)


if __name__ == "__main__":
    open_streams()
    status = main()
    flush_output()  # a library may have printed: that nobody can read it must not change the exit status
    sys.exit(status)

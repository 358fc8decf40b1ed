"""Entrypoint of a pod: read the assignment and run it."""

from __future__ import annotations

import logging
import sys

from pydantic import ValidationError

from distillery.secrets import EnvironmentSecrets
from distillery.settings import Settings
from distillery.stages.assignment import Assignment
from distillery.streams import flush_output, open_streams
from distillery.worker.logs import configure_logging
from distillery.worker.process import Attempt, Exit
from distillery.worker.secrets import PodSecrets

log = logging.getLogger("distillery.worker")

ASSIGNMENT_VERSION = 1


def main() -> Exit:
    """Run the attempt that the environment names and return the exit status."""
    settings = Settings.read()
    configure_logging(EnvironmentSecrets(settings), {}, settings.container_log)
    try:
        assignment = Assignment.model_validate_json(settings.assignment.read_bytes())
    except (OSError, ValidationError) as error:
        log.error("there is no usable assignment in %s: %s", settings.assignment, error)
        return Exit.UNUSABLE
    if assignment.version > ASSIGNMENT_VERSION:
        log.error("the assignment has version %d: use a newer worker image", assignment.version)
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
        return Attempt(assignment, settings, secrets, kept).run()
    except (
        Exception
    ):  # the border: a bug of ours ends up in the log, secrets hidden, not on bare standard error
        log.exception("the worker failed")
        return Exit.FAILED


if __name__ == "__main__":
    open_streams()
    status = main()
    flush_output()  # a library may have printed: that nobody can read it must not change the exit status
    sys.exit(status)

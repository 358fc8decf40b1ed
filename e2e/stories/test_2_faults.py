"""Whatever is killed on the way, a job ends as it would have, and pays for no answer twice but those in flight."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from incidents import kill_operators, kill_worker, s3_outage
from place import Site, Teacher, small_job

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

IN_FLIGHT = 8
"""rateLimits.concurrency of the small job, for each worker pod that was killed."""


def test_operator_worker_pod_and_store_fail_in_one_run(
    site: Site, team: str, teacher: Teacher, fast_watchdogs: str
) -> None:
    job = small_job(site, team, "unlucky", teacher, f"faults-{os.urandom(3).hex()}", epochs=6)
    job.spec["profile"] = fast_watchdogs
    answered = len(teacher.bill)
    generation = job.apply()
    job.reach("teacher")
    kill_operators(job, "teacher")
    job.reach("student")
    kill_worker(job, "student")
    job.reach("evaluation")
    s3_outage(job, "evaluation")
    status = job.ended(generation, seconds=1200)
    assert status.phase == "Succeeded", status
    attempts = {stage.name: stage.attempt for stage in status.stages}
    assert attempts["dataset"] == attempts["teacher"] == attempts["filter"] == 1
    record = job.record()
    assert Counter(entry["stage"] for entry in record.values()) == attempts
    calls = Counter((call["row"], call["temperature"]) for call in teacher.bill[answered:])
    wanted = {0: 1, 0.7: 2}
    twice = sum(count - wanted[temperature] for (_, temperature), count in calls.items())
    asked_again_on_purpose = 10 + 1  # the noise rows, and the preflight's row
    assert twice <= asked_again_on_purpose + IN_FLIGHT
